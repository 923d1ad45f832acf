"""Whatever a tenant's own server replies, the tenant gets an answer below 500 or 503 in bounded
time, and nobody else notices."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson import Int64, ObjectId, Timestamp

from multitenant.embedded import EmbeddedServer
from tests.altering_proxy import Alter, AlteringProxy, Document
from tests.conftest import leakless_worlds, own_environment
from tests.integration.test_external_tenants import Client, add
from tests.support import PASSWORD, User, World

IDENTITY = "migrations"
READS = ("find", "getMore", "listCollections", "aggregate")
WRITES = ("insert", "update", "delete", "findAndModify")


def of(*commands: str, put: Callable[[Document], Any]) -> Alter:
    """Alter the replies to these commands, but for the look at whose the database is."""

    def alter(command: Document, reply: Document) -> Any:
        name = next(iter(command))
        if name not in commands or (name == "aggregate" and command[name] == IDENTITY):
            return reply
        return put(reply)

    return alter


def cursor(**fields: Any) -> Callable[[Document], Document]:
    """Put these fields into the cursor of a reply that has one; `...` removes a field."""

    def put(reply: Document) -> Document:
        found = reply.get("cursor", {}) | fields
        return reply | {"cursor": {name: it for name, it in found.items() if it is not ...}}

    return put


def endless(command: Document, reply: Document) -> Document:
    """Every cursor goes on for ever, and nothing is in it."""
    name = next(iter(command))
    if "cursor" not in reply and name != "getMore":
        return reply
    collection = command["collection"] if name == "getMore" else command[name]
    batch = "nextBatch" if name == "getMore" else "firstBatch"
    return {"ok": 1.0, "cursor": {"id": Int64(5), "ns": f"acme.{collection}", batch: []}}


def everywhere(**fields: Any) -> Alter:
    return lambda _, reply: reply | fields


REPLIES: dict[str, Alter] = {
    "no cursor": of(*READS, put=lambda reply: {"ok": 1.0}),
    "nothing": of(*READS, *WRITES, put=lambda _: {}),
    "a cursor that is none": of(*READS, put=lambda reply: reply | {"cursor": 7}),
    "no batch": of(*READS, put=cursor(firstBatch=...)),
    "a batch that is none": of(*READS, put=cursor(firstBatch=5)),
    "numbers for documents": of(*READS, put=cursor(firstBatch=[1, 2])),
    "empty documents": of(*READS, put=cursor(firstBatch=[{}, {}])),
    "a text for an id": of(*READS, put=cursor(id="x")),
    "a number for a name": of(*READS, put=cursor(ns=5)),
    "cursors without an end": endless,
    "text for ok": of(*READS, *WRITES, put=lambda reply: reply | {"ok": "yes"}),
    "text for a count": of(*WRITES, put=lambda reply: reply | {"n": "x"}),
    "text for a document": of("findAndModify", put=lambda reply: reply | {"value": "x"}),
    "another document": of("findAndModify", put=lambda reply: reply | {"value": {"x": 1}}),
    "a list of no errors": of(*WRITES, put=lambda reply: reply | {"writeErrors": [7]}),
    "a number of errors": of(*WRITES, put=lambda reply: reply | {"writeErrors": 7}),
    "an error without text": of(
        *WRITES, put=lambda reply: reply | {"writeErrors": [{"code": "y"}]}
    ),
    "no write concern error": of(*WRITES, put=lambda reply: reply | {"writeConcernError": 7}),
    "an error without a code": of(*READS, *WRITES, put=lambda _: {"ok": 0.0}),
    "a text for a code": of(*READS, *WRITES, put=lambda _: {"ok": 0.0, "code": "x", "errmsg": 5}),
    "labels that are none": of(
        *READS, *WRITES, put=lambda _: {"ok": 0.0, "code": 7, "errmsg": "x", "errorLabels": 5}
    ),
    "an unknown code": of(
        *READS, *WRITES, put=lambda _: {"ok": 0.0, "code": 987654, "errmsg": "x"}
    ),
    "no time": everywhere(**{"$clusterTime": 7}),
    "half a time": everywhere(**{"$clusterTime": {"clusterTime": "x"}}),
    "a far time": everywhere(**{"$clusterTime": {"clusterTime": Timestamp(2**32 - 1, 1)}}),
    "no BSON": of(*READS, *WRITES, put=lambda _: b"\x0c\x00\x00\x00\x10a\x00\x01\x00\xff\xff\xff"),
    "an empty message": of(*READS, *WRITES, put=lambda _: b""),
    "a length that is none": of(*READS, *WRITES, put=lambda _: b"\xff\xff\xff\x7f\x00"),
    "a deep document": of(*READS, *WRITES, put=lambda reply: reply | {"x": deep(900)}),
    "a large answer": of(*READS, *WRITES, put=lambda reply: reply | {"x": [{}] * 200_000}),
    "many documents": of(*READS, put=lambda reply: cursor(firstBatch=[{}] * 100_000)(reply)),
}


def deep(levels: int) -> Document:
    document: Document = {}
    for _ in range(levels):
        document = {"a": document}
    return document


@pytest.fixture(scope="module")
def world(
    mongod: EmbeddedServer, mongo: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One application for all of these, which takes servers of tenants' own on this machine."""
    directory = tmp_path_factory.mktemp("odd-replies")
    with own_environment(mongod, mongo, directory) as environment:
        environment |= {"TENANT_URI_ALLOWED_HOSTS": "127.0.0.1", "OPERATION_TIMEOUT_MS": "5000"}
        with leakless_worlds(environment) as make:
            yield make()


@pytest.fixture(scope="module")
def proxy(elsewhere: EmbeddedServer) -> Iterator[AlteringProxy]:
    with AlteringProxy(elsewhere._port) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def acme(world: World, proxy: AlteringProxy, theirs: Client) -> Iterator[User]:
    """The owner of `Acme`, whose server is the proxy; `Globex` is well."""
    roles = [{"role": "readWrite", "db": "acme"}]
    theirs["acme"].command("createUser", "theirs", pwd="their-password", roles=roles)
    uri = f"mongodb://theirs:their-password@127.0.0.1:{proxy.port}/acme?authSource=acme"
    added = {"email": "owner@acme.example", "password": "that of Globex"}
    assert world.add(name="Globex", **added).status_code == 201
    world.owner = world.login(**added)
    yield add(world, uri)
    theirs["acme"].command("dropUser", "theirs")
    theirs.drop_database("acme")
    world.admin_db["tenants"].delete_one({"name": "Acme"})


@pytest.fixture
def altered(acme: User, proxy: AlteringProxy, world: World) -> Iterator[Callable[[Alter], None]]:
    """Let replies be altered until the end of the test; the client to the server is a new one."""

    def alter(alter: Alter) -> None:
        world.platform.connections.evict(ObjectId(acme.tenant_id))
        proxy.alter = alter

    yield alter
    alter(lambda _, reply: reply)


@pytest.mark.parametrize("kind", REPLIES)
def test_nothing_that_a_server_replies_is_an_internal_error(
    world: World, acme: User, altered: Callable[[Alter], None], kind: str
) -> None:
    altered(REPLIES[kind])
    tenant = f"/api/tenants/{acme.tenant_id}"
    body = {"email": "owner@acme.example", "password": PASSWORD}
    answers = [
        acme.get("/api/users/me"),
        acme.get("/api/to-do-list"),
        acme.put("/api/settings/a", {"value": 1}),
        acme.post("/api/users", {"email": f"{ObjectId()}@acme.example", "role": "member"}),
        world.operator.get(f"{tenant}/usage"),
        world.operator.get("/api/usage"),
        world.client.post("/api/login", json=body),
    ]
    statuses = [it.status_code for it in answers]
    assert all(it < 500 or it == 503 for it in statuses), statuses
    assert world.owner is not None
    assert world.owner.get("/api/users/me").status_code == 200
    assert world.login("owner@acme.example", "that of Globex"), "the same email in both"
