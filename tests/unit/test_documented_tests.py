"""What documents say of tests: each that they name is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"`(?:tests/)?(?:[\w/]+/)?(test_\w+\.py)(?:::(\w+(?:::\w+)?))?`")
RISKS = re.compile(r"^\| (API\d+) .*$", re.MULTILINE)


def is_there(file: str, name: str) -> bool:
    """Whether a file of tests of that name exists, and in it that class or function."""
    definitions = [rf"^\s*(?:class|def) {part}\b" for part in name.split("::") if part]
    return any(
        all(re.search(definition, path.read_text(), re.MULTILINE) for definition in definitions)
        for path in (ROOT / "tests").rglob(file)
    )


@pytest.mark.parametrize("document", ["docs/security.md", "docs/reliability.md"])
def test_every_test_that_is_named_exists(document: str) -> None:
    named = NAMED.findall((ROOT / document).read_text())
    assert named
    assert [test for test in named if not is_there(*test)] == []


def test_each_of_owasps_risks_has_a_row_with_tests() -> None:
    text = (ROOT / "docs" / "security.md").read_text()
    rows = {match[1]: match[0] for match in RISKS.finditer(text)}
    assert list(rows) == [f"API{number}" for number in range(1, 11)]
    for risk, row in rows.items():
        assert any(name for _, name in NAMED.findall(row.split("|")[3])), f"{risk} names no test"


def test_a_test_that_does_not_exist_is_noticed() -> None:
    assert is_there(Path(__file__).name, "test_a_test_that_does_not_exist_is_noticed")
    assert not is_there(Path(__file__).name, "test_that_was_renamed")
    assert not is_there("test_that_is_no_file.py", "")
