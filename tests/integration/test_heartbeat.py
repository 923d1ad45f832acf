"""Processes know that they are current by a heartbeat, which one of them writes for all."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.clock import CLOCK
from multitenant.tenancy.routing.heartbeat import HeartbeatWriter
from tests.conftest import MakeWorld
from tests.support import World, eventually

Client = MongoClient[dict[str, Any]]


def is_current(world: World) -> bool:
    return world.platform.watcher.vouches_for(time.monotonic())


def heartbeat(world: World) -> dict[str, Any]:
    return world.admin_db["heartbeats"].find_one() or {}


def test_one_process_writes_it_and_another_takes_over(make_world: MakeWorld) -> None:
    worlds = [make_world(), make_world(), make_world()]
    for world in worlds:
        eventually(lambda world=world: is_current(world))  # type: ignore[misc]
    writers = {world.platform.watcher._heartbeat._name: world for world in worlds}
    writer = writers.pop(heartbeat(worlds[0])["writer"])

    writer.platform.watcher.stop()

    eventually(lambda: heartbeat(worlds[0])["writer"] in writers)
    for world in writers.values():
        eventually(lambda world=world: is_current(world))  # type: ignore[misc]
    assert world.admin_db["heartbeats"].count_documents({}) == 1


@contextmanager
def steady_changes(mongo: Client, world: World) -> Iterator[None]:
    """Change tenants' records all the time."""
    tenants = mongo[world.admin_db.name]["tenants"]
    ending = threading.Event()

    def change() -> None:
        while not ending.is_set():
            tenants.update_one({"name": "operators"}, {"$set": {"changed": ObjectId()}})

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def test_steady_changes_do_not_keep_it_from_being_current(world: World, mongo: Client) -> None:
    eventually(lambda: is_current(world))
    watcher = world.platform.watcher
    with steady_changes(mongo, world):
        began = time.monotonic()
        eventually(lambda: watcher._heard_at > began)
        eventually(lambda: watcher._heard_at > began + 1 and is_current(world))


def test_a_heartbeat_that_was_long_on_its_way_proves_nothing(world: World) -> None:
    watcher = world.platform.watcher
    assert world.platform.connections.now()
    long_ago = datetime.fromtimestamp(CLOCK.now(), UTC) - timedelta(seconds=5)
    change = {"operationType": "update", "updateDescription": {"updatedFields": {"beats": 7}}}
    watcher.stop()
    watcher._heard_at = float("-inf")

    watcher._hear_heartbeat({**change, "wallTime": long_ago})

    assert not is_current(world)
    assert time.monotonic() - watcher._heard_at >= 5


def test_a_heartbeat_that_somebody_has_removed_begins_anew(world: World, mongo: Client) -> None:
    eventually(lambda: is_current(world))
    mongo[world.admin_db.name]["heartbeats"].delete_many({})
    removed = time.monotonic()
    eventually(lambda: world.platform.watcher._heard_at > removed)
    eventually(lambda: is_current(world))


def test_what_is_not_current_asks_the_primary_for_a_proof_that_requests_share(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HeartbeatWriter, "write_if_due", lambda _: None)
    world = make_world(tenant_stale_seconds=60)
    owner = world.tenant("Acme")
    world.platform.watcher.stop()
    world.platform.watcher._heard_at = float("-inf")
    world.platform.connections.forget_all()
    world.platform.revocations.forget()
    world.recorder.commands.clear()

    assert owner.get("/api/users/me").status_code == 200

    proofs = [
        command
        for _, name, command in world.recorder.commands
        if name == "find" and command.get("readConcern") == {"level": "linearizable"}
    ]
    assert len(proofs) == 1
    assert world.recorder.count("find", "tenants") == 1
    assert world.recorder.count("find", "revocations") == 1
