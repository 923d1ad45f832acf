"""Fixtures: the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from multitenant.cli import cli
from tests.integration.backups import Multitenant

Command = Callable[..., Result]


@pytest.fixture
def multitenant(command: Command, monkeypatch: pytest.MonkeyPatch) -> Multitenant:
    """Run a command, which must end with the exit code, and return what it printed."""
    monkeypatch.setenv("TENANT_STALE_SECONDS", "0.1")

    def run(*args: object, code: int = 0) -> Result:
        result = command(*map(str, args))
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return run


@pytest.fixture
def command(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Command:
    """The command, on the platform of the test: `multitenant("tenants", "list", input="…")`."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments, **options: CliRunner().invoke(cli, arguments, **options)
