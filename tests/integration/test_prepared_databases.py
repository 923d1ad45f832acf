"""PROVISIONING_POOL_SIZE: databases that are ready before anybody asks for a tenant."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.repositories.model import utc_now
from multitenant.tenancy.lifecycle.orphans import find_orphans
from multitenant.tenancy.migrations import TENANT_VERSION
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.integration.test_dedicated import users_of
from tests.integration.test_garbage import find
from tests.support import PASSWORD, World, answer, eventually

Client = MongoClient[dict[str, Any]]
Run = Callable[[list[Callable[[], Any]]], list[Any]]
SIZE = 3


@pytest.fixture
def pooled(make_world: MakeWorld) -> World:
    """A platform with a full pool."""
    return filled(make_world(provisioning_pool_size=SIZE))


def filled(world: World) -> World:
    world.operator  # noqa: B018  # makes the admin database
    world.platform.prepared.refill()
    return wait_until_full(world)


def wait_until_full(world: World) -> World:
    size = world.platform.settings.provisioning_pool_size
    eventually(lambda: len(waiting(world)) >= size)
    return world


def waiting(world: World) -> dict[str, Any]:
    """The names of the databases that wait, and their notes."""
    notes = world.admin_db["provisionings"].find({"preparedVersion": TENANT_VERSION})
    return {note["dbName"]: note for note in notes}


def add(world: World, name: str, **more: Any) -> Any:
    email = f"owner@{name.lower()}.example"
    return world.operator.post("/api/add", {"name": name, "email": email, **more})


def test_a_tenant_gets_a_database_that_was_ready_and_the_pool_is_filled_again(
    pooled: World,
) -> None:
    ready = waiting(pooled)
    pooled.recorder.commands.clear()
    tenant_id = answer(add(pooled, "Acme", password=PASSWORD))["tenantId"]
    here = [name for db, name, _ in pooled.recorder.commands if tenant_id in db]

    record = pooled.record(tenant_id)
    assert record["dbName"] in ready
    assert record["schemaVersion"] == TENANT_VERSION
    assert "createIndexes" not in here, "it had its indexes"
    assert "email_1" in pooled.db_of(tenant_id)["users"].index_information()
    owner = pooled.login("owner@acme.example")
    assert owner.post("/api/to-do-list", {"title": "x"}).status_code == 201
    wait_until_full(pooled)
    assert record["dbName"] not in waiting(pooled)


def test_they_are_nobodys_and_seen_nowhere(pooled: World) -> None:
    tenants = answer(pooled.operator.get("/api/tenants"))["items"]
    assert [tenant["name"] for tenant in tenants] == ["operators"]
    usage = answer(pooled.operator.get("/api/usage"))
    assert [tenant["name"] for tenant in usage["items"]] == ["operators"]
    for name in waiting(pooled):
        assert pooled.admin_db.client[name]["users"].count_documents({}) == 0


def test_more_at_once_than_are_ready_are_all_made_each_in_a_database_of_its_own(
    pooled: World, run_together: Run
) -> None:
    calls: list[Any] = [
        partial(add, pooled, f"T{number}", password=PASSWORD) for number in range(8)
    ]
    made = [answer(response) for response in run_together(calls)]
    names = {pooled.record(one["tenantId"])["dbName"] for one in made}
    assert len(names) == 8
    wait_until_full(pooled)
    assert not names & set(waiting(pooled))


def test_several_processes_fill_one_pool_together(make_world: MakeWorld) -> None:
    worlds = [make_world(provisioning_pool_size=SIZE) for _ in range(3)]
    worlds[0].operator  # noqa: B018
    for world in worlds:
        world.platform.prepared.refill()
    wait_until_full(worlds[0])
    for world in worlds:
        world.platform.prepared.stop()
    assert len(waiting(worlds[0])) == SIZE
    assert worlds[0].admin_db["locks"].count_documents({}) == 0


def test_a_dedicated_tenant_gets_its_mongodb_user_in_one(pooled: World) -> None:
    ready = waiting(pooled)
    made = answer(add(pooled, "Acme", password=PASSWORD, isolation="dedicated"))
    assert pooled.record(made["tenantId"])["dbName"] in ready
    assert len(users_of(pooled.db_of(made["tenantId"]))) == 1
    assert pooled.login("owner@acme.example").get("/api/users/me").status_code == 200
    wait_until_full(pooled)


def test_a_failed_attempt_drops_what_it_took_and_can_be_repeated(
    pooled: World, mongo: Client
) -> None:
    ready = waiting(pooled)
    with failing(mongo, {"times": 1}, "commitTransaction", errorCode=2):
        assert add(pooled, "Acme").status_code == 500
    wait_until_full(pooled)
    gone = set(ready) - set(waiting(pooled))
    assert len(gone) == 1
    assert not gone & pooled.databases()
    assert add(pooled, "Acme").status_code == 201
    wait_until_full(pooled)


def test_one_that_was_taken_by_a_process_that_died_is_garbage(pooled: World) -> None:
    pooled.platform.prepared.stop()  # it may be looking whether there are enough
    taken = pooled.platform.prepared.take("default", has_users=False)
    assert taken is not None
    assert find(pooled) == [], "it may become a tenant in a moment"
    age(pooled, timedelta(hours=1))
    found = find(pooled)
    assert [garbage.name for garbage in found] == [taken["dbName"]]
    assert found[0].remove()
    assert taken["dbName"] not in pooled.databases()


def test_gc_keeps_as_many_as_wanted_and_none_of_an_earlier_release(pooled: World) -> None:
    age(pooled, timedelta(days=30))
    assert find(pooled) == []
    oldest, old, young = sorted(waiting(pooled).values(), key=lambda note: note["_id"])
    notes = pooled.admin_db["provisionings"]
    notes.update_one({"_id": oldest["_id"]}, {"$set": {"preparedVersion": TENANT_VERSION - 1}})

    one = find_orphans(pooled.admin_db, older_than=timedelta(0), keep_prepared=1)

    assert {note["_id"] for note in one} == {oldest["_id"], young["_id"]}
    found = find(pooled)
    assert [garbage.name for garbage in found] == [oldest["dbName"]]
    assert found[0].remove()
    made = answer(add(pooled, "Acme"))
    assert pooled.record(made["tenantId"])["dbName"] == old["dbName"]
    wait_until_full(pooled)


def test_without_it_nothing_is_prepared(world: World) -> None:
    world.tenant("Acme")
    world.platform.prepared.refill()
    assert waiting(world) == {}


def test_a_lock_that_its_holder_did_not_give_back_is_taken_over(make_world: MakeWorld) -> None:
    world = make_world(provisioning_pool_size=SIZE)
    world.operator  # noqa: B018
    until = utc_now() + timedelta(seconds=0.5)
    lock = {"_id": "preparing databases", "holder": "somebody who died", "until": until}
    world.admin_db["locks"].insert_one(lock)
    world.platform.prepared.refill()
    time.sleep(0.2)
    assert waiting(world) == {}, "somebody else does it"
    time.sleep(0.5)
    world.platform.prepared.refill()
    wait_until_full(world)


def age(world: World, by: timedelta) -> None:
    for note in world.admin_db["provisionings"].find():
        changed = {"$set": {"startedAt": note["startedAt"] - by}}
        world.admin_db["provisionings"].update_one({"_id": note["_id"]}, changed)
