"""What happens in one process is known in every other, without reading again and again.

Another process is played by writing to the admin database behind the application's back.
"""

import time
from contextlib import AbstractContextManager
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import PASSWORD, User, World, eventually

Client = MongoClient[dict[str, Any]]
LONG = 30  # seconds that an entry would be good for; the tests are over before


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """A world whose watcher is up."""
    world = make_world(tenant_stale_seconds=LONG)
    watcher = world.platform.watcher
    eventually(lambda: watcher.vouches_for(time.monotonic()))
    return world


def elsewhere(world: World, mongo: Client, owner: User, change: dict[str, Any]) -> None:
    """Change the tenant's record as another process would."""
    tenants = mongo[world.admin_db.name]["tenants"]
    tenants.update_one({"_id": ObjectId(owner.tenant_id)}, change)


def status(user: User, **headers: str) -> int:
    return user.get("/api/users/me", headers=headers).status_code


def test_a_suspension_elsewhere_counts_here_at_once(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme")
    assert status(owner) == 200
    elsewhere(world, mongo, owner, {"$set": {"status": "suspended"}})
    eventually(lambda: status(owner) == 403)
    elsewhere(world, mongo, owner, {"$set": {"status": "active"}})
    eventually(lambda: status(owner) == 200)


def test_a_tenant_removed_elsewhere_is_gone_here(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme")
    assert status(owner) == 200
    record = world.record(owner.tenant_id)
    mongo[world.admin_db.name]["tenants"].delete_one({"_id": record["_id"]})
    eventually(lambda: status(owner) == 401)
    mongo.drop_database(record["dbName"])


def test_a_renamed_subdomain_elsewhere_counts_here(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme", subdomain="acme")
    assert status(owner, Host="acme.localhost") == 200
    assert status(owner, Host="inc.localhost") == 403
    elsewhere(world, mongo, owner, {"$set": {"subdomain": "inc"}})
    eventually(lambda: status(owner, Host="inc.localhost") == 200)
    assert status(owner, Host="acme.localhost") == 403


def test_a_session_ended_elsewhere_has_ended_here(world: World, make_world: MakeWorld) -> None:
    other_process = make_world(tenant_stale_seconds=LONG)
    owner, second = world.tenant("Acme"), other_process.login("owner@acme.example")
    assert status(owner) == 200
    body = {"currentPassword": PASSWORD, "newPassword": "a new password"}
    assert second.put("/api/users/me/password", body).status_code == 200
    eventually(lambda: status(owner) == 401)
    assert status(second) == 200


def test_while_the_stream_vouches_nothing_is_read_again(make_world: MakeWorld) -> None:
    world = make_world(tenant_stale_seconds=0.5)
    owner = world.tenant("Acme")
    eventually(lambda: world.platform.watcher.vouches_for(time.monotonic()))
    assert status(owner) == 200
    world.recorder.commands.clear()

    for _ in range(30):
        time.sleep(0.1)
        assert status(owner, Host="elsewhere.example") == 200

    assert world.recorder.count("find", "tenants") <= 4, "it would be 12 without the stream"
    assert world.recorder.count("find", "revocations") <= 2, "it would be 6 without the stream"


def test_refreshing_a_session_makes_no_other_token_be_checked_again(world: World) -> None:
    owner, other = world.tenant("Acme"), world.login("owner@acme.example")
    assert status(owner) == 200
    world.recorder.commands.clear()
    response = world.client.post("/api/refresh", headers={"jwt": other.refresh})
    assert response.status_code == 200
    checks = world.recorder.count("find", "revocations")
    time.sleep(0.3)
    assert status(owner) == 200
    assert world.recorder.count("find", "revocations") == checks


NO_RIGHTS, HISTORY_LOST = {"errorCode": 13}, {"errorCode": 286}


def stream_cut(mongo: Client, error: dict[str, Any] = NO_RIGHTS) -> AbstractContextManager[None]:
    """Let no change stream of an application open or go on."""
    return failing(mongo, "alwaysOn", "aggregate", "getMore", **error)


def test_with_the_stream_cut_nobody_is_served_on_old_knowledge(
    make_world: MakeWorld, mongo: Client
) -> None:
    world = make_world(tenant_stale_seconds=1)
    owner = world.tenant("Acme")
    watcher = world.platform.watcher
    eventually(lambda: watcher.vouches_for(time.monotonic()))
    assert status(owner) == 200

    with stream_cut(mongo):
        elsewhere(world, mongo, owner, {"$set": {"status": "suspended"}})
        eventually(lambda: not watcher.vouches_for(time.monotonic()))
        time.sleep(1)
        for _ in range(20):
            assert status(owner) == 403

    elsewhere(world, mongo, owner, {"$set": {"status": "active"}})
    eventually(lambda: watcher.vouches_for(time.monotonic()))
    eventually(lambda: status(owner) == 200)


def test_what_was_missed_while_the_stream_was_down_is_read_again(
    world: World, mongo: Client
) -> None:
    """Where the server cannot go on from there, the new stream does not vouch for what was learnt
    before it began."""
    owner = world.tenant("Acme")
    assert status(owner) == 200
    known_since = time.monotonic()
    with stream_cut(mongo, HISTORY_LOST):
        eventually(lambda: not world.platform.watcher.vouches_for(known_since))
        elsewhere(world, mongo, owner, {"$set": {"status": "suspended"}})
        eventually(lambda: world.platform.watcher._place is None)
    eventually(lambda: world.platform.watcher.vouches_for(time.monotonic()))
    assert not world.platform.watcher.vouches_for(known_since)
    assert status(owner) == 403


@pytest.mark.slow
def test_a_cursor_that_was_killed_is_resumed_without_a_gap(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme")
    assert status(owner) == 200
    database = world.admin_db.name
    for _ in range(3):
        operations = mongo.admin.aggregate(
            [
                {"$currentOp": {"allUsers": True, "idleCursors": True}},
                {"$match": {"ns": {"$regex": f"^{database}"}, "cursor": {"$exists": True}}},
            ]
        )
        cursors = [operation["cursor"]["cursorId"] for operation in operations]
        mongo[database].command("killCursors", "$cmd.aggregate", cursors=cursors)
        elsewhere(world, mongo, owner, {"$set": {"status": "suspended"}})
        eventually(lambda: status(owner) == 403)
        elsewhere(world, mongo, owner, {"$set": {"status": "active"}})
        eventually(lambda: status(owner) == 200)


def test_after_an_election_it_is_resumed_and_nothing_was_missed(
    world: World, mongo: Client
) -> None:
    """The one member steps down and is elected again."""
    owner = world.tenant("Acme")
    assert status(owner) == 200
    term = mongo.admin.command("replSetGetStatus")["term"]
    mongo.admin.command("replSetStepDown", 1, force=True, secondaryCatchUpPeriodSecs=0)
    eventually(lambda: bool(mongo.admin.command("hello")["isWritablePrimary"]))
    assert mongo.admin.command("replSetGetStatus")["term"] > term

    elsewhere(world, mongo, owner, {"$set": {"status": "suspended"}})

    eventually(lambda: status(owner) == 403)
    watcher = world.platform.watcher
    eventually(lambda: watcher.vouches_for(time.monotonic()))
    elsewhere(world, mongo, owner, {"$set": {"status": "active"}})
    eventually(lambda: status(owner) == 200)


def test_stopping_is_final(world: World) -> None:
    world.platform.watcher.stop()
    world.platform.watcher.stop()
    assert world.platform.watcher._thread is not None
    assert not world.platform.watcher._thread.is_alive()
