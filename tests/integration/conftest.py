"""Fixtures: the command line, and an application that meets many errors."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pymongo import common

from multitenant.cli import cli
from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.deployments import clients
from tests.conftest import Client, leakless_worlds, own_environment
from tests.integration.backups import Multitenant
from tests.leftovers import drop_leftovers
from tests.support import World

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


@pytest.fixture(scope="module")
def impatient(
    mongod: EmbeddedServer, mongo: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """An application for a module that looks at its servers again as soon as one has failed:
    PyMongo's monitor waits for half a second, or for what a failpoint does not tell it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        own_environment(mongod, mongo, tmp_path_factory.mktemp("errors")) as environment,
        leakless_worlds(environment) as make,
    ):
        patch.setattr(common, "MIN_HEARTBEAT_INTERVAL", 0.01)
        patch.setattr(clients, "ADMIN_MONITORING", "poll")
        world = make()
        yield world
        drop_leftovers(world)
