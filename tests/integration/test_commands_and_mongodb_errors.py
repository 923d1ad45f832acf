"""Every command of `multitenant` ends with one message and exit code 1 where MongoDB fails, at
whatever moment, and never with a traceback."""

import binascii
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from bson.errors import InvalidBSON
from cryptography.exceptions import InvalidTag
from pymongo.synchronous.collection import Collection

from multitenant.cli import cli, main
from multitenant.embedded import EmbeddedServer
from tests.conftest import Client, leakless_worlds, variables_of
from tests.failpoints import end_faults, fail
from tests.faults.interference import EVERY_COMMAND
from tests.first_start import fresh_name

COMMANDS = {
    "init": "init",
    "doctor": "doctor --timeout 5",
    "tenants list": "tenants list",
    "tenants add": "tenants add Later later@acme.example",
    "tenants show": "tenants show Acme",
    "tenants suspend": "tenants suspend Suspended --yes",
    "tenants activate": "tenants activate Suspended",
    "tenants delete": "tenants delete Deleted --yes",
    "tenants restore": "tenants restore Deleted",
    "tenants purge": "tenants purge Purged --yes --confirm Purged",
    "tenants gc": "tenants gc --yes",
    "tenants shell": "tenants shell Acme --command db.name",
    "clusters list": "clusters list",
    "clusters drain": "clusters drain default",
    "clusters change": "clusters change default --tenants 1000",
    "clusters close": "clusters close default --yes",
    "clusters remove": "clusters remove default --yes",
    "migrations status": "migrations status --indexes",
    "migrations run": "migrations run --verify",
    "migrations rollback": "migrations rollback --to 1 --tenant Purged --yes",
    "backup": "backup --all --output backups",
    "restore": "restore --undo Acme --yes",
    "clone": "clone Acme Clone",
    "move": "move Acme --back --yes",
    "keys rotate": "keys rotate",
}
WITHOUT_MONGODB = {
    *("run", "openapi", "completion", "migrations new"),
    "clusters add",  # which looks at the deployment that it is told of first
}
MOMENTS = 15
"""After so many commands to MongoDB, at the most, all others fail."""
CODES = (2, 13, 20, 96, 215, 11601, 99_999)
ERRORS: list[Callable[[], Exception]] = [
    lambda: InvalidBSON("year 10000 is out of range"),
    lambda: binascii.Error("Incorrect padding"),
    lambda: InvalidTag(),
    lambda: OSError(24, "Too many open files"),
]
"""What does not come from PyMongo, and comes out of it, or of what was read."""


@pytest.fixture(scope="module")
def variables(mongod: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment variables of a platform with some tenants. What commands leave over, as they
    say, when MongoDB does not let them drop it, goes with the server."""
    directory = tmp_path_factory.mktemp("commands")
    environment = variables_of(mongod.uri, fresh_name(), directory)
    with leakless_worlds(environment) as make:
        world = make()
        for name in ("Acme", "Suspended", "Deleted", "Purged"):
            added = world.add(name=name, email=f"owner@{name.lower()}.example")
            assert added.status_code == 201, added.text
    return {**environment, "OPERATION_TIMEOUT_MS": "1000"}


@pytest.fixture
def run(
    variables: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[[str], tuple[int, str]]:
    """Run a command as the program does; return its exit code, and what it says went wrong."""
    monkeypatch.chdir(tmp_path)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    def run(command: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["multitenant", *command.split()])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        code = ended.value.code
        return (code if isinstance(code, int) else int(code is not None)), told.err

    return run


def names_of(group: click.Group, before: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from names_of(command, f"{before}{name} ")
        else:
            yield before + name


def ensure_told(command: str, said: str) -> None:
    """Return if exactly one line says what is wrong."""
    if command != "doctor":  # which says it in its list
        errors = [line for line in said.splitlines() if line.startswith("Error: ")]
        assert len(errors) == 1, said


def test_every_command_is_tried() -> None:
    assert set(names_of(cli)) == COMMANDS.keys() | WITHOUT_MONGODB


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_whose_first_words_with_mongodb_fail_ends_with_one_message(
    run: Callable[[str], tuple[int, str]], mongo: Client, command: str
) -> None:
    fail(mongo, "alwaysOn", *EVERY_COMMAND, errorCode=96)
    try:
        code, said = run(COMMANDS[command])
    finally:
        end_faults(mongo)
    assert code == 1, said
    ensure_told(command, said)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_mongodb_fails_at_any_moment_ends_with_one_message(
    run: Callable[[str], tuple[int, str]], mongo: Client, command: str
) -> None:
    for skip in range(MOMENTS):
        code = CODES[skip % len(CODES)]
        fail(mongo, {"skip": skip}, *EVERY_COMMAND, errorCode=code)
        try:
            ended, said = run(COMMANDS[command])
        finally:
            end_faults(mongo)
        assert ended in (0, 1), said
        assert said.count("Error: ") <= 1, said


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error()).__name__)
def test_a_command_that_meets_another_librarys_error_ends_with_one_message(
    run: Callable[[str], tuple[int, str]],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    error: Callable[[], Exception],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error()

    for name in ("find", "find_raw_batches", "aggregate", "find_one_and_update", "insert_one"):
        monkeypatch.setattr(Collection, name, broken)
    code, said = run(COMMANDS[command])
    assert code == 1, said
    ensure_told(command, said)
