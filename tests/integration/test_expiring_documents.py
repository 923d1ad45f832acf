"""What MongoDB deletes by itself from the database that a tenant has moved away from was written by
nobody, and does not make the move a failure."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.moving import Moved
from tests.conftest import Client
from tests.support import User, World, answer

MOVING: Any = import_module("multitenant.tenancy.operations.moving")


@pytest.fixture
def owner(world: World, blue: Client) -> User:
    """The owner of a tenant that can be moved to `blue`."""
    return world.tenant("Acme", cluster="default")


def move(
    world: World,
    owner: User,
    monkeypatch: pytest.MonkeyPatch,
    afterwards: Callable[[MongoDatabase], object],
) -> Moved:
    """Move the tenant; `afterwards` happens to its old database, when the new one is in use."""
    old = world.db_of(owner.tenant_id)
    real = MOVING.Moves._serve_there

    def serve(*args: Any) -> None:
        real(*args)
        afterwards(old)

    monkeypatch.setattr(MOVING.Moves, "_serve_there", serve)
    tenant_id = ObjectId(owner.tenant_id)
    return world.platform.moves.move(tenant_id, Actor.on_command_line(), to="blue")


def fill(db: MongoDatabase, name: str = "sessions") -> None:
    """Documents that have expired, in each form that MongoDB takes for a time, and others."""
    now, age = utc_now(), timedelta(hours=2)
    db[name].insert_many(
        [
            {"_id": "expired", "at": now - age, "done": True},
            {"_id": "in a list", "at": [now + age, now - age], "done": True},
            {"_id": "fresh", "at": now, "done": True},
            {"_id": "no time", "at": "yesterday", "done": True},
            {"_id": "kept", "at": now - age, "done": False},
        ]
    )


def delete(*ids: Any, name: str = "sessions") -> Callable[[MongoDatabase], object]:
    return lambda db: db[name].delete_many({"_id": {"$in": list(ids)}})


def test_what_a_ttl_index_deletes_is_not_late(
    world: World, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.db_of(owner.tenant_id)
    db["sessions"].create_index("at", expireAfterSeconds=3600)
    fill(db)
    moved = move(world, owner, monkeypatch, delete("expired", "in a list", "kept"))
    assert moved.late == 0
    entry = answer(world.operator.get("/api/audit?action=tenant.moved"))["items"][0]
    assert (entry["outcome"], entry["details"]["lateDocuments"]) == ("success", 0)


def test_what_a_partial_ttl_index_deletes_is_not_late(
    world: World, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.db_of(owner.tenant_id)
    db["sessions"].create_index(
        "at", expireAfterSeconds=3600, partialFilterExpression={"done": True}
    )
    fill(db)
    assert move(world, owner, monkeypatch, delete("expired", "in a list")).late == 0


def test_what_a_clustered_collection_lets_expire_is_not_late(
    world: World, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.db_of(owner.tenant_id)
    clustered = {"key": {"_id": 1}, "unique": True}
    db.create_collection("log", clusteredIndex=clustered, expireAfterSeconds=3600)
    old = utc_now() - timedelta(hours=2)
    db["log"].insert_many([{"_id": old}, {"_id": utc_now()}])
    assert move(world, owner, monkeypatch, delete(old, name="log")).late == 0


def test_what_the_copy_does_not_have_any_more_either_is_not_late(
    world: World, owner: User, blue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MongoDB has deleted it there first."""
    db = world.db_of(owner.tenant_id)
    db["sessions"].create_index("at", expireAfterSeconds=3600)
    fill(db)

    def expire(old: MongoDatabase) -> None:
        for one in (blue[world.record(owner.tenant_id)["dbName"]], old):
            delete("expired")(one)

    assert move(world, owner, monkeypatch, expire).late == 0


def test_what_somebody_writes_who_had_hung_is_late_all_the_same(
    world: World, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    db = world.db_of(owner.tenant_id)
    db["sessions"].create_index(
        "at", expireAfterSeconds=3600, partialFilterExpression={"done": True}
    )
    fill(db)
    fill(db, "others")

    def write(old: MongoDatabase) -> None:
        delete("fresh", "no time", "kept")(old)
        delete("expired", name="others")(old)
        old["sessions"].update_one({"_id": "expired"}, {"$set": {"more": 1}})
        old["sessions"].insert_one({"_id": "new", "at": utc_now(), "done": True})

    assert move(world, owner, monkeypatch, write).late == 6
