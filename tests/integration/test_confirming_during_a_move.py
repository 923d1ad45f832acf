"""A move looks for late writes in the database that the tenant had. Whoever drops that at once
waits for the move, and one that was dropped all the same does not keep it."""

import threading
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.errors import NotFound
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.moving import Moved
from tests.integration.test_garbage import find
from tests.support import User, World, eventually

Client = MongoClient[dict[str, Any]]
MOVING: Any = import_module("multitenant.tenancy.operations.moving")
ACTOR = Actor.on_command_line()


def move(world: World, owner: User) -> Moved:
    return world.platform.moves.move(ObjectId(owner.tenant_id), ACTOR, to="blue")


def test_a_confirmation_waits_for_the_move(
    world: World, blue: Client, mongo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody runs `move --confirm` again and again."""
    owner = world.tenant("Acme", cluster="default")
    old = world.record(owner.tenant_id)["dbName"]
    dropped: list[str] = []
    ended = threading.Event()

    def confirm() -> None:
        while not dropped:
            try:
                dropped.extend(world.platform.restoration.confirm(ObjectId(owner.tenant_id), ACTOR))
            except NotFound:
                assert not ended.is_set(), "it has moved, and nothing is kept"

    thread = threading.Thread(target=confirm)
    serve_there = MOVING.Moves._serve_there

    def serve_and_confirm(*args: Any) -> None:
        serve_there(*args)
        thread.start()
        locks = world.admin_db["locks"]
        eventually(lambda: locks.find_one({"_id": f"migrations {owner.tenant_id}"}) is not None)
        thread.join(0.3)
        assert not dropped

    monkeypatch.setattr(MOVING.Moves, "_serve_there", serve_and_confirm)
    assert move(world, owner).late == 0
    ended.set()
    thread.join()
    assert dropped == [old]
    assert old not in mongo.list_database_names()


def test_a_database_that_was_dropped_by_hand_does_not_keep_the_move(
    world: World, blue: Client, mongo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.tenant("Acme", cluster="default")
    old = world.record(owner.tenant_id)["dbName"]
    serve_there = MOVING.Moves._serve_there

    def serve_and_drop(*args: Any) -> None:
        serve_there(*args)
        mongo.drop_database(old)

    monkeypatch.setattr(MOVING.Moves, "_serve_there", serve_and_drop)
    assert move(world, owner).to_cluster == "blue"
    assert owner.get("/api/to-do-list").status_code == 200


def test_a_purge_leaves_a_note_of_each_for_what_is_written_once_more(
    world: World, blue: Client, mongo: Client
) -> None:
    owner = world.tenant("Acme", cluster="default")
    path = f"/api/tenants/{owner.tenant_id}"
    old = world.record(owner.tenant_id)["dbName"]
    move(world, owner)
    assert world.operator.delete(path).status_code == 200
    assert world.operator.post(f"{path}/purge", {"confirm": "Acme"}).status_code == 200
    mongo[old]["todos"].insert_one({"title": "by a process that had stood still"})
    long_ago = {"$set": {"startedAt": utc_now() - timedelta(hours=1)}}
    world.admin_db["provisionings"].update_many({}, long_ago)
    assert all(garbage.remove() for garbage in find(world))
    assert old not in mongo.list_database_names()
    assert world.admin_db["provisionings"].count_documents({}) == 0
