"""Fixtures: a second real replica set (somebody else's, or a cluster of the platform's), and the
command line."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient

from multitenant.cli import cli
from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.actor import Actor
from tests.conftest import data_directory
from tests.integration.backups import Multitenant
from tests.support import World

Client = MongoClient[dict[str, Any]]
Command = Callable[..., Result]


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Somebody else's MongoDB."""
    parameters = {"enableTestCommands": "1", "transactionLifetimeLimitSeconds": "2"}
    with (
        data_directory(tmp_path_factory) as directory,
        EmbeddedServer(directory, parameters=parameters) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def theirs(elsewhere: EmbeddedServer) -> Iterator[Client]:
    """A client with all rights there."""
    with Client(elsewhere.uri, tz_aware=True, serverMonitoringMode="poll") as client:
        yield client


@pytest.fixture
def blue(world: World, elsewhere: EmbeddedServer, theirs: Client) -> Iterator[Client]:
    """The second deployment as the platform's cluster `blue`; a client with all rights there. The
    databases that are there at the end must be tenants', or wait for one."""
    world.platform.clusters.add("blue", elsewhere.uri, {}, Actor.on_command_line())
    yield theirs
    there = {"cluster": "blue"}
    known = {tenant["dbName"] for tenant in world.admin_db["tenants"].find(there)}
    noted = [{"preparedVersion": {"$exists": True}}, {"kept": True}]
    waiting = world.admin_db["provisionings"].find({"$or": noted, **there})
    known |= {note["dbName"] for note in waiting}
    prefix = world.platform.settings.tenant_db_prefix
    made = {name for name in theirs.list_database_names() if name.startswith(prefix)}
    assert made == known, "a database without a tenant, or a tenant without a database, was left"
    for name in made:
        theirs.drop_database(name)


@pytest.fixture
def their_uri(theirs: Client, elsewhere: EmbeddedServer) -> Iterator[str]:
    """The URI of a user who may read and write one empty database, `acme`, and nothing else."""
    roles = [{"role": "readWrite", "db": "acme"}]
    theirs["acme"].command("createUser", "theirs", pwd="their-password", roles=roles)
    yield f"mongodb://theirs:their-password@127.0.0.1:{elsewhere._port}/acme?authSource=acme"
    theirs["acme"].command("dropUser", "theirs")
    theirs.drop_database("acme")


@pytest.fixture
def multitenant(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Multitenant:
    """Run a command, which must end with the exit code, and return what it printed."""
    monkeypatch.chdir(tmp_path)
    for name, value in {**environment, "TENANT_STALE_SECONDS": "0.1"}.items():
        monkeypatch.setenv(name, value)

    def run(*args: object, code: int = 0) -> Result:
        result = CliRunner().invoke(cli, [str(arg) for arg in args])
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
