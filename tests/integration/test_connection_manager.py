"""Connections on a real server: bounded, shared, leased."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pymongo
import pytest
from bson import ObjectId

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.paging import PageQuery
from multitenant.services.tenant import todos as service
from multitenant.tenancy.deployments.clients import OpenedClient
from multitenant.tenancy.routing.placement import Connection
from multitenant.tenancy.routing.tenant import Tenant
from tests.conftest import MakeWorld
from tests.support import PASSWORD, World, answer


class ClientEach:
    """A placement that gives every tenant a client of its own, as dedicated tenants have."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self.opened: list[OpenedClient] = []

    def connect(self, tenant: Tenant) -> Connection:
        opened = OpenedClient(
            self._uri,
            pool_size=4,
            monitoring_per_server=1,
            tz_aware=True,
            serverMonitoringMode="poll",
        )
        self.opened.append(opened)
        return Connection(opened.client[tenant.db_name], opened)

    def sockets(self, tenant: Tenant) -> int:
        return 5

    def still_open(self) -> int:
        return sum(not opened.client._closed for opened in self.opened)


def test_nothing_is_opened_before_the_first_request(world: World, make_world: MakeWorld) -> None:
    from multitenant import create_app
    from multitenant.extensions import platform_of

    app = create_app(world.platform.settings)
    assert platform_of(app).connections.stats()["clients"] == 0


def test_all_shared_tenants_of_a_process_use_one_client(world: World) -> None:
    for name in ("Acme", "Globex", "Initech"):
        assert world.tenant(name).get("/api/users/me").status_code == 200
    assert world.platform.connections.stats()["clients"] == 1


def test_a_hundred_first_requests_of_a_tenant_read_its_record_once(
    make_world: MakeWorld, run_together: Any
) -> None:
    world = make_world(tenant_stale_seconds=60)
    owner = world.tenant("Acme")
    world.platform.connections._tenants._entries.clear()
    world.recorder.commands.clear()

    responses = run_together([lambda: owner.get("/api/users/me")] * 100)

    assert [response.status_code for response in responses] == [200] * 100
    assert world.recorder.count("find", "tenants") == 1


@pytest.mark.slow
def test_eviction_never_breaks_a_request(
    make_world: MakeWorld, mongod: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache of 2, 24 threads, 8 tenants with a client each, slow requests: none may fail."""
    placement = ClientEach(mongod.uri)
    world = make_world(placement=placement, tenant_cache_size=2, tenant_stale_seconds=60)
    owners = [world.tenant(f"Tenant{number}") for number in range(8)]
    for owner in owners:
        owner.post("/api/to-do-list", {"title": owner.tenant_id})

    list_todos = service.list_todos

    def list_slowly(db: MongoDatabase, page: PageQuery) -> Any:
        time.sleep(0.01)  # so that leases overlap with evictions
        return list_todos(db, page)

    monkeypatch.setattr(service, "list_todos", list_slowly)

    def work(seed: int) -> list[str]:
        failures = []
        for step in range(40):
            owner = owners[(seed * 5 + step * 3) % 8]
            response = owner.get("/api/to-do-list")
            titles = [item["title"] for item in answer(response)["items"]]
            if response.status_code != 200 or titles != [owner.tenant_id]:
                failures.append(response.text)
        return failures

    with ThreadPoolExecutor(24) as pool:
        failures = [failure for result in pool.map(work, range(24)) for failure in result]

    assert failures == []
    stats = world.platform.connections.stats()
    assert stats["leases"] == 0
    assert stats["evictions"] > 50, "nothing was evicted: this proves nothing"
    # two in the cache, and the cluster's own
    assert placement.still_open() == 2
    assert stats["clients"] == 3


def test_a_request_in_hand_survives_the_eviction_of_its_tenant(
    make_world: MakeWorld, mongod: EmbeddedServer
) -> None:
    placement = ClientEach(mongod.uri)
    world = make_world(placement=placement, tenant_cache_size=1)
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    connections = world.platform.connections

    with connections.lease(ObjectId(acme.tenant_id)) as lease:
        globex.get("/api/users/me")
        assert lease.database.command("ping")["ok"] == 1
        client = lease.database.client
    with pytest.raises(pymongo.errors.InvalidOperation):
        client.admin.command("ping")


def test_the_lease_is_given_back_when_the_view_fails(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    owner = world.tenant("Acme")
    monkeypatch.setattr("multitenant.controllers.tenant.todos.service.list_todos", fail)
    assert owner.get("/api/to-do-list").status_code == 500
    assert world.platform.connections.stats()["leases"] == 0


def test_a_client_that_crossed_a_fork_is_refused(world: World) -> None:
    world.client.get("/readyz")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _ = world.admin_db
            os.write(write, b"used")
        except RuntimeError:
            os.write(write, b"refused")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"refused"
    os.close(read)
    os.close(write)


def test_an_application_built_before_a_fork_works_in_the_child(world: World) -> None:
    from multitenant import create_app

    app = create_app(world.platform.settings)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, str(app.test_client().get("/readyz").status_code).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 10) == b"200"
    os.close(read)
    os.close(write)


def test_closing_is_clean_and_may_be_done_again(make_world: MakeWorld) -> None:
    world = make_world()
    owner = world.tenant("Acme")
    assert world.platform.close(timeout=1) is True
    assert world.platform.close(timeout=1) is True
    body = {"email": "owner@acme.example", "password": PASSWORD}
    for response in (owner.get("/api/users/me"), world.client.post("/api/login", json=body)):
        assert response.status_code == 503
        assert "Retry-After" in response.headers
    assert world.platform.connections.stats()["clients"] == 0, "nothing is opened again"
