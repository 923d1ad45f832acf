"""Fixtures: a second real replica set, which is somebody else's."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient

from multitenant.cli import cli
from multitenant.embedded import EmbeddedServer
from tests.conftest import data_directory

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
) -> Command:
    """The command, on the platform of the test: `multitenant("tenants", "list", input="…")`."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return lambda *arguments, **options: CliRunner().invoke(cli, arguments, **options)
