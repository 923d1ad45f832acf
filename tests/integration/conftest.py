"""Fixtures: a second real replica set: somebody else's, or a cluster of the platform's."""

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.actor import Actor
from tests.conftest import data_directory
from tests.support import World

Client = MongoClient[dict[str, Any]]


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
    waiting = world.admin_db["provisionings"].find({"preparedVersion": {"$exists": True}, **there})
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
