"""What a server behind a `dbUri` says leads the platform nowhere but to where it may go."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import pytest
from bson import ObjectId

from multitenant.config import Settings
from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.deployments.clients import ClientFactory, OpenedClient
from multitenant.tenancy.deployments.external import encrypt_uri
from multitenant.tenancy.deployments.foreign_servers import MAX_MEMBERS, ForeignServerRefused
from tests.conftest import PYMONGO_THREADS, MakeWorld
from tests.fake_mongod import FakeMongod, hello
from tests.integration.test_external_tenants import Client, add, purge
from tests.support import World, refusal

Says = Callable[[int], dict[str, Any]]


def hosts(count: int) -> list[str]:
    return [f"127.0.0.1:{port}" for port in range(20_000, 20_000 + count)]


HOSTILE: dict[str, Says] = {
    "thousands of members": lambda port: hello(port, hosts=[f"127.0.0.1:{port}", *hosts(5000)]),
    "too many members": lambda port: hello(port, hosts=[f"127.0.0.1:{port}", *hosts(MAX_MEMBERS)]),
    "too many passive ones": lambda port: hello(port, passives=hosts(MAX_MEMBERS)),
    "too many arbiters": lambda port: hello(port, arbiters=hosts(MAX_MEMBERS)),
    "another's host": lambda port: hello(port, hosts=[f"127.0.0.1:{port}", "10.1.2.3:27017"]),
    "another spelling": lambda port: hello(port, hosts=[f"127.1:{port}"]),
    "a secondary's list": lambda port: hello(
        port, isWritablePrimary=False, secondary=True, hosts=["169.254.169.254:80"]
    ),
    "a primary elsewhere": lambda port: hello(
        port, isWritablePrimary=False, secondary=True, passives=["metadata:80"]
    ),
    "a large answer": lambda port: hello(port, tags={"x": "x" * 2**20}),
    "hosts that are none": lambda port: hello(port, hosts=[1, {"a": 1}]),
    "hosts that are no list": lambda port: hello(port, hosts=7),
}


def saying(kind: str) -> FakeMongod:
    fake = FakeMongod(lambda _: HOSTILE[kind](fake.port))
    return fake


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(tenant_uri_allowed_hosts="127.0.0.1", operation_timeout_ms=2000)


@pytest.fixture
def behind(world: World) -> Iterator[Callable[[FakeMongod], Any]]:
    """Make the tenant `Acme` one whose `dbUri` leads to the fake; return its owner."""

    def make(fake: FakeMongod) -> Any:
        owner = world.tenant("Acme")
        record = world.record(owner.tenant_id)
        uri = f"mongodb://u:p@127.0.0.1:{fake.port}/acme?replicaSet=rs"
        cipher = world.platform.cipher
        changes = {
            "cluster": "external",
            "isolation": "dedicated",
            "dbUri": encrypt_uri(cipher, uri, record["_id"]),
        }
        before = {name: record[name] for name in ("cluster", "isolation")}
        world.admin_db["tenants"].update_one({"_id": record["_id"]}, {"$set": changes})
        world.platform.connections.evict(record["_id"])
        restore.append((record["_id"], before))
        return owner

    restore: list[tuple[ObjectId, dict[str, Any]]] = []
    yield make
    for tenant_id, before in restore:
        change = {"$set": before, "$unset": {"dbUri": ""}}
        world.admin_db["tenants"].update_one({"_id": tenant_id}, change)


def threads() -> int:
    return sum(it.name.startswith(PYMONGO_THREADS) for it in threading.enumerate())


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_server_that_leads_elsewhere_is_let_go(
    world: World, behind: Callable[[FakeMongod], Any], kind: str
) -> None:
    with saying(kind) as fake:
        owner, other = behind(fake), world.tenant("Globex")
        before, opened = threads(), world.platform.connections.stats()["clients"]
        for _ in range(2):
            refusal(owner.get("/api/users/me"), 503, "database_unavailable")
        assert 0 < fake.accepted < 10
        assert threads() < before + 10
        assert world.platform.connections.stats()["clients"] == opened
        assert other.get("/api/users/me").status_code == 200


def test_a_tenant_cannot_be_added_there(world: World) -> None:
    for kind, message in (
        ("too many members", "more than"),
        ("another's host", "does not list"),
        ("hosts that are no list", "does not speak"),
    ):
        with saying(kind) as fake:
            uri = f"mongodb://u:p@127.0.0.1:{fake.port}/acme"
            response = world.add(name="Acme", email="owner@acme.example", dbUri=uri)
            details = refusal(response, 422, "validation_failed")
            assert message in details["errors"][0]["message"]
            assert fake.accepted < 10


def test_a_uri_with_many_servers_is_not_taken(world: World) -> None:
    uri = f"mongodb://u:p@{','.join(hosts(MAX_MEMBERS + 1))}/acme"
    response = world.add(name="Acme", email="owner@acme.example", dbUri=uri)
    details = refusal(response, 422, "validation_failed")
    assert "more than" in details["errors"][0]["message"]


@pytest.fixture
def factory(settings: Settings) -> ClientFactory:
    return ClientFactory(settings)


def ping_until_refused(opened: OpenedClient) -> NoReturn:
    while True:
        opened.client.admin.command("ping")


def test_a_server_that_has_more_members_later_is_let_go(factory: ClientFactory) -> None:
    """Its sockets are counted by those that it had."""
    says: list[dict[str, Any]] = []
    with FakeMongod(lambda _: says[0]) as fake:
        says.append(hello(fake.port))
        opened = factory.open_foreign(f"mongodb://127.0.0.1:{fake.port}/?heartbeatFrequencyMS=500")
        try:
            assert opened.client.admin.command("ping")["ok"] == 1
            opened.settle()
            says[0] = hello(fake.port, hosts=[f"127.0.0.1:{fake.port}", f"127.0.0.1:{fake.port}1"])
            with pytest.raises(ForeignServerRefused):
                ping_until_refused(opened)
        finally:
            opened.close()


@pytest.mark.parametrize("size", [17 * 2**20, 40 * 2**20])
def test_an_answer_of_a_size_that_no_server_sends_is_not_read(
    factory: ClientFactory, size: int
) -> None:
    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if "ping" in command:
            return {"ok": 1.0, "x": "x" * size}
        return hello(fake.port, maxMessageSizeBytes=2**31 - 1, maxBsonObjectSize=2**31 - 1)

    with FakeMongod(answer) as fake:
        opened = factory.open_foreign(f"mongodb://127.0.0.1:{fake.port}/?replicaSet=rs")
        try:
            with pytest.raises(Exception, match="larger than server max"):
                opened.client.admin.command("ping")
        finally:
            opened.close()


def test_the_list_may_become_shorter_and_the_uris_own_servers_stay(
    make_world: MakeWorld, elsewhere: EmbeddedServer, their_uri: str, theirs: Client
) -> None:
    world = make_world(tenant_uri_allowed_hosts=f"127.0.0.1:{elsewhere._port}")
    owner = add(world, their_uri)
    later = make_world()
    headers = {"Authorization": f"Bearer {owner.access}"}
    assert later.client.get("/api/users/me", headers=headers).status_code == 200
    purge(world, owner)
