"""Every command explains itself, and documents name only what there is."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from multitenant.cli import cli, main
from multitenant.errors import ValidationFailed

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MENTION = re.compile(r"(?<![\w./:-])multitenant((?: +)[^\n]*)")
ALTERNATIVES = re.compile(r"[a-z-]+(\|[a-z-]+)+")
END = re.compile(r"[|;&<>#)`\"]|\.\.\.|…")


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, click.Command]]:
    """Every command and group, with the words that lead to it."""
    yield path, group
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def mentions(text: str) -> Iterator[list[str]]:
    """The words behind each `multitenant` that is a command in this text, up to where it ends."""
    for match in MENTION.finditer(text.replace("\\\n", " ")):
        words = []
        for word in _split(match.group(1)):
            bare, _, behind = word.partition("`")
            if END.search(bare) and not ALTERNATIVES.fullmatch(bare):
                break
            words.append(bare)
            if behind or "`" in word:
                break
        if words:
            yield words


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:  # a quote that belongs to the text around it
        return text.split()


def unknown_words(words: list[str]) -> list[str]:
    """Those of a command's words that are neither commands nor options of it."""
    command: click.Command = cli
    missing = []
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            known = command.commands
            missing += [name for name in word.split("|") if name not in known]
            if missing:
                return missing
            command = known[word.split("|")[0]]
        elif word.startswith("-") and word != "-":
            options = {name for it in command.params for name in (*it.opts, *it.secondary_opts)}
            if word.partition("=")[0] not in {*options, "-h", "--help", "--version"}:
                missing.append(word)
    return missing


ALL = dict(commands(cli))
NAMES = [" ".join(path) or "multitenant" for path in ALL]


@pytest.mark.parametrize(("path", "command"), ALL.items(), ids=NAMES)
def test_every_command_has_a_description_and_an_example(
    path: tuple[str, ...], command: click.Command
) -> None:
    shown = CliRunner().invoke(cli, [*path, "--help"])
    assert shown.exit_code == 0
    description, _, examples = (command.help or "").partition("Example")
    assert len(description.split()) >= 5, "a sentence says what it does"
    assert " ".join(("multitenant", *path)) in examples
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.opts} is not explained"


@pytest.mark.parametrize(("path", "command"), ALL.items(), ids=NAMES)
def test_the_examples_of_a_command_name_what_there_is(
    path: tuple[str, ...], command: click.Command
) -> None:
    mentioned = list(mentions(command.help or ""))
    assert mentioned
    assert [unknown_words(words) for words in mentioned] == [[]] * len(mentioned)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_name_only_commands_and_options_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    code = re.findall(r"```.*?```|`[^`]+`", text, re.DOTALL)
    wrong = {
        " ".join(words): missing
        for snippet in code
        for words in mentions(snippet)
        if (missing := unknown_words(words))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("`multitenant tenants lst`", ["lst"]),
        ("`multitenant tenants list --everything`", ["--everything"]),
        ("`multitenant tenants list|ad|show`", ["ad"]),
        ("```sh\nPORT=1 multitenant serve\n```", ["serve"]),
        ("`multitenant tenants add A \\\n  --colour red`", ["--colour"]),
        ("`multitenant tenants list --json | jq --raw-output`", []),
        ("`multitenant tenants gc --yes >gc.log`", []),
    ],
)
def test_a_document_that_is_wrong_would_be_found(text: str, missing: list[str]) -> None:
    (words,) = mentions(text)
    assert unknown_words(words) == missing


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_a_script_for_the_shell(shell: str) -> None:
    script = CliRunner().invoke(cli, ["completion", shell])
    assert script.exit_code == 0
    assert f"_MULTITENANT_COMPLETE={shell}_complete" in script.output


def test_an_unknown_shell_is_refused() -> None:
    assert CliRunner().invoke(cli, ["completion", "tcsh"]).exit_code == 2


def test_bash_takes_the_script() -> None:
    script = CliRunner().invoke(cli, ["completion", "bash"]).output
    checked = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("te", {"tenants"}),
        ("tenants s", {"suspend", "shell", "show"}),
        ("tenants list --st", {"--status"}),
        ("tenants list --status sus", {"suspended"}),
        ("completion f", {"fish"}),
    ],
)
def test_commands_options_and_their_values_are_completed(typed: str, expected: set[str]) -> None:
    variables = {
        "_MULTITENANT_COMPLETE": "bash_complete",
        "COMP_WORDS": f"multitenant {typed}",
        "COMP_CWORD": str(len(typed.split())),
    }
    completed = CliRunner().invoke(cli, [], env=variables, prog_name="multitenant")
    assert {line.split(",")[1] for line in completed.output.split()} == expected


def test_an_expected_failure_is_one_message_with_all_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise ValidationFailed(errors=[{"field": "dbUri", "message": "is not offered here"}])

    monkeypatch.setattr("multitenant.cli.cli", fail)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    shown = capsys.readouterr().err
    assert shown == "Error: The request is not valid\n  dbUri: is not offered here\n"
