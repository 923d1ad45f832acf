"""GET /api/usage and /api/tenants/{id}/usage: what tenants store."""

import threading
import time
from typing import Any

import bson
import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import ServerSelectionTimeoutError

from multitenant.repositories.usage import collection_sizes
from multitenant.tenancy.operations import usage
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import User, World, answer, refusal

Client = MongoClient[dict[str, Any]]

USAGE = "/api/usage"


def usage_of(world: World, tenant: User) -> Any:
    return answer(world.operator.get(f"/api/tenants/{tenant.tenant_id}/usage"))


def stored(world: World, tenant: User) -> dict[str, tuple[int, int]]:
    """Documents and bytes of each collection, counted one by one."""
    db = world.db_of(tenant.tenant_id)
    documents = {name: list(db[name].find()) for name in db.list_collection_names()}
    return {
        name: (len(found), sum(len(bson.encode(document)) for document in found))
        for name, found in documents.items()
    }


def told(usage: Any) -> dict[str, tuple[int, int]]:
    return {each["name"]: (each["documents"], each["bytes"]) for each in usage["collections"]}


def test_it_is_exactly_what_is_stored(world: World) -> None:
    owner = world.tenant("Acme")
    for number in range(7):
        owner.post("/api/to-do-list", {"title": "x" * (number + 1)})
    owner.post("/api/users", {"email": "ben@acme.example"})

    answered = usage_of(world, owner)

    assert told(answered) == stored(world, owner)
    assert told(answered)["todos"][0] == 7
    assert told(answered)["users"][0] == 2
    assert (answered["tenantId"], answered["name"], answered["status"]) == (
        owner.tenant_id,
        "Acme",
        "active",
    )
    for field in ("documents", "bytes", "diskBytes"):
        assert answered[field] == sum(each[field] for each in answered["collections"]) > 0


def test_an_empty_database_stores_nothing(world: World) -> None:
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    for name in db.list_collection_names():
        db.drop_collection(name)
    answered = usage_of(world, owner)
    db["todos"].insert_one({})  # a database without collections is none, which the fixture notices
    assert (answered["documents"], answered["bytes"], answered["collections"]) == (0, 0, [])


def test_a_tenant_that_does_not_exist_is_not_found(world: World) -> None:
    refusal(world.operator.get(f"/api/tenants/{ObjectId()}/usage"), 404, "not_found")


def test_each_tenant_is_told_of_once_page_by_page_also_deleted_and_dedicated_ones(
    world: World,
) -> None:
    tenants = [world.tenant("Acme"), world.tenant("Globex", isolation="dedicated")]
    tenants += [world.tenant(name) for name in ("Initech", "Umbrella")]
    for number, tenant in enumerate(tenants):
        for _ in range(number):
            tenant.post("/api/to-do-list", {"title": "x"})
    world.operator.delete(f"/api/tenants/{tenants[2].tenant_id}")

    items: list[Any] = []
    query = "?limit=2"
    while True:
        page = answer(world.operator.get(USAGE + query))
        assert set(page) == {"items", "errors", "nextCursor"}
        assert page["errors"] == []
        items += page["items"]
        if page["nextCursor"] is None:
            break
        query = f"?limit=2&cursor={page['nextCursor']}"

    assert [item["tenantId"] for item in items[1:]] == [tenant.tenant_id for tenant in tenants]
    assert [told(item)["todos"][0] for item in items[1:]] == [0, 1, 2, 3]
    assert items[0]["name"] == "operators"
    assert items[3]["status"] == "deleted"
    assert told(items[1]) == told(usage_of(world, tenants[0])) == stored(world, tenants[0])
    active = answer(world.operator.get(f"{USAGE}?status=active&q=i"))
    assert [item["name"] for item in active["items"]] == []
    deleted = answer(world.operator.get(f"{USAGE}?status=deleted"))
    assert [item["name"] for item in deleted["items"]] == ["Initech"]


def test_a_tenant_whose_database_does_not_tell_is_named_and_the_others_are_told_of(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    names = ("Acme", "Globex", "Initech", "Umbrella")
    acme, globex, initech, _ = (world.tenant(name) for name in names)
    sizes = collection_sizes

    def fail(db: Any) -> Any:
        if db.name.endswith(acme.tenant_id):
            raise ServerSelectionTimeoutError("secret-host:27017: refused")
        if db.name.endswith(globex.tenant_id):
            raise RuntimeError("secret detail")
        return sizes(db)

    monkeypatch.setattr(usage, "collection_sizes", fail)
    world.admin_db["tenants"].update_one(
        {"_id": ObjectId(initech.tenant_id)},
        {"$set": {"isolation": "dedicated", "credentials": {"key": "x", "text": "damaged"}}},
    )
    world.platform.connections.forget(ObjectId(initech.tenant_id))

    response = world.operator.get(USAGE)

    page = answer(response)
    assert [item["name"] for item in page["items"]] == ["operators", "Umbrella"]
    errors = {error["name"]: error for error in page["errors"]}
    assert set(errors) == {"Acme", "Globex", "Initech"}
    assert all(set(error) == {"tenantId", "name", "code", "message"} for error in errors.values())
    assert errors["Acme"]["code"] == "database_unavailable"
    assert errors["Globex"]["code"] == "internal_error"
    assert errors["Initech"]["code"] == "database_unavailable"
    assert errors["Acme"]["tenantId"] == acme.tenant_id
    assert "secret" not in response.text
    assert "secret detail" in caplog.text


@pytest.mark.slow
def test_a_slow_database_does_not_hold_the_others_up(world: World, mongo: Client) -> None:
    for name in ("Acme", "Globex", "Initech"):
        world.tenant(name)
    world.operator.get(USAGE)
    slow = {"blockConnection": True, "blockTimeMS": 20_000}
    with failing(mongo, {"times": 1}, "listCollections", **slow):
        started = time.monotonic()
        page = answer(world.operator.get(USAGE))
        took = time.monotonic() - started

    assert (len(page["items"]), len(page["errors"])) == (3, 1)
    assert page["errors"][0]["code"] == "database_unavailable"
    assert took < 20, "the slow one was waited for"


def test_databases_are_asked_in_parallel_but_never_too_many_at_a_time(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()
    asking = most = 0
    sizes = collection_sizes

    def count(db: Any) -> Any:
        nonlocal asking, most
        with lock:
            asking += 1
            most = max(most, asking)
        time.sleep(0.1)
        try:
            return sizes(db)
        finally:
            with lock:
                asking -= 1

    monkeypatch.setattr(usage, "collection_sizes", count)
    world, narrow = make_world(), make_world(max_pool_size=4)
    for number in range(11):
        world.tenant(f"T{number}")
    for asked, expected in ((world, usage.PARALLEL), (narrow, 2)):
        most = 0
        assert len(answer(asked.operator.get(USAGE))["items"]) == 12
        assert most == expected


def test_each_thread_stays_in_its_tenant_and_the_listener_sees_it(world: World) -> None:
    tenants = [world.tenant(name) for name in ("Acme", "Globex")]
    world.operator  # noqa: B018
    checked = world.isolation.commands
    world.operator.get(USAGE)
    assert world.isolation.commands >= checked + 2 * (len(tenants) + 1)
    assert not world.isolation.violations
