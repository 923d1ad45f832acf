"""Every parameter of every command, with values that nobody means: an error, and no traceback."""

import click
import pytest
from pymongo.errors import PyMongoError

from multitenant.cli import cli
from multitenant.errors import (
    BackupError,
    ConfigurationError,
    DecryptionFailed,
    DomainError,
)
from tests.integration.conftest import Command
from tests.support import World
from tests.unit.test_odd_arguments import commands

EXPECTED = (
    *(SystemExit, DomainError, BackupError, ConfigurationError, DecryptionFailed),
    *(OSError, PyMongoError),
)
"""What main() puts into one line."""
ODD = ("", "-1", "9" * 23, "nan", "1e400", "\n", "\x1b[31m", "x" * 5000, "💥", "../..", "$where")
LEFT_OUT = ("run", "migrations new")  # it serves; it writes into the source


def arguments_of(command: click.Command, wanted: click.Parameter, value: str) -> list[str]:
    """The least that the command needs, and that value."""
    arguments = ["--yes"] if any(it.name == "yes" for it in command.params) else []
    for parameter in command.params:
        choices = getattr(parameter.type, "choices", ("1",))
        given = value if parameter is wanted else choices[0]
        if isinstance(parameter, click.Argument):
            arguments.append(given)
        elif parameter is wanted or parameter.required:
            arguments += [parameter.opts[-1], given]
    return arguments


@pytest.mark.slow
def test_no_value_is_a_traceback(world: World, command: Command) -> None:
    wrong = []
    for path, it in commands(cli):
        if " ".join(path) in LEFT_OUT:
            continue
        for parameter in it.params:
            if getattr(parameter, "is_flag", False):
                continue
            for value in ODD:
                result = command(*path, *arguments_of(it, parameter, value), input="")
                if result.exception and not isinstance(result.exception, EXPECTED):
                    wrong.append((path, parameter.name, value[:30], repr(result.exception)[:100]))
    assert wrong == []
