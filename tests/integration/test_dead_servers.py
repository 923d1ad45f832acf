"""Servers that do not answer cost the tenants on others nothing, and failures are put down to the
deployment that has failed."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.tenancy.deployments.external import encrypt_uri
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import User, World, refusal

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        yield listening.getsockname()[1]


def behind(world: World, name: str, port: int) -> User:
    """Make a tenant whose `dbUri` leads there; return its owner."""
    owner = world.tenant(name)
    tenant_id = ObjectId(owner.tenant_id)
    uri = encrypt_uri(world.platform.cipher, f"mongodb://u:p@127.0.0.1:{port}/acme", tenant_id)
    changes = {"cluster": "external", "isolation": "dedicated", "dbUri": uri}
    world.admin_db["tenants"].update_one({"_id": tenant_id}, {"$set": changes})
    world.platform.connections.evict(tenant_id)
    return owner


def bring_back(world: World, *owners: User) -> None:
    for owner in owners:
        change = {"$set": {"cluster": "default", "isolation": "shared"}, "$unset": {"dbUri": ""}}
        world.admin_db["tenants"].update_one({"_id": ObjectId(owner.tenant_id)}, change)


@pytest.mark.slow
def test_two_dead_servers_take_half_of_the_threads_and_the_rest_is_refused_at_once(
    make_world: MakeWorld, silent: int
) -> None:
    world = make_world(
        tenant_uri_allowed_hosts="127.0.0.1",
        threads=16,
        tenant_max_concurrency=8,
        operation_timeout_ms=8000,
    )
    dead = [behind(world, name, silent) for name in ("Acme", "Initech")]
    other = world.tenant("Globex")
    with ThreadPoolExecutor(16) as pool:
        asked = [pool.submit(owner.get, "/api/users/me") for owner in dead for _ in range(8)]
        done, _ = wait(asked, timeout=6)
        assert len(done) >= 8, "all threads wait"
        assert other.get("/api/users/me").status_code == 200
    for answer in asked:
        refusal(answer.result(), 503, "database_unavailable")
    assert world.platform.connections.cluster_leases().get("external", 0) == 0
    bring_back(world, *dead)


def test_a_login_waits_for_each_of_several_tenants_a_bounded_time_only(
    make_world: MakeWorld, silent: int
) -> None:
    world = make_world(tenant_uri_allowed_hosts="127.0.0.1", operation_timeout_ms=600_000)
    dead = behind(world, "Acme", silent)
    membership = world.admin_db["tenantusers"].find_one({"_id": ObjectId(dead.user_id)})
    assert membership is not None
    world.add(name="Globex", email=membership["email"], password="a password of Globex")
    assert world.login(membership["email"], "a password of Globex")
    bring_back(world, dead)


@pytest.mark.slow
class TestWhichDeploymentFailed:
    def test_a_failing_admin_database_leaves_the_tenants_cluster_alone(
        self, world: World, mongo: Client, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="blue")
        connections = world.platform.connections
        body = {"email": "ben@acme.example", "role": "member"}
        with failing(mongo, "alwaysOn", "insert", "update", closeConnection=True):
            refusal(owner.post("/api/users", body), 503, "database_unavailable")
            assert not connections.is_troubled("blue")

    def test_a_write_conflict_is_no_trouble(self, world: World, blue: Client) -> None:
        owner = world.tenant("Acme", cluster="blue")
        labels = ["TransientTransactionError"]
        with failing(blue, "alwaysOn", "insert", errorCode=112, errorLabels=labels):
            owner.post("/api/to-do-list", {"title": "x"})
            assert not world.platform.connections.is_troubled("blue")

    def test_a_failing_cluster_is_troubled(self, world: World, blue: Client) -> None:
        owner = world.tenant("Acme", cluster="blue")
        with failing(blue, "alwaysOn", "find", closeConnection=True):
            refusal(owner.get("/api/to-do-list"), 503, "database_unavailable")
            assert world.platform.connections.is_troubled("blue")
            assert not world.platform.connections.is_troubled("default")
