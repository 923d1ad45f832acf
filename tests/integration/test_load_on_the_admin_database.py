"""What a process asks of the admin database is bounded, by counts: there may be a thousand of them.

Other processes are played by writing to the admin database behind the application's back.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.admin.changes import BATCH_SIZE
from multitenant.tenancy.deployments import clients, clusters
from multitenant.tenancy.routing import watcher as watching
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import User, World, eventually

Client = MongoClient[dict[str, Any]]
LONG = 30  # seconds that an entry would be good for; the tests are over before


def is_current(world: World) -> bool:
    return world.platform.watcher.vouches_for(time.monotonic())


@pytest.fixture
def current(make_world: MakeWorld) -> World:
    """A world that follows the changes."""
    world = make_world(tenant_stale_seconds=LONG)
    eventually(lambda: is_current(world))
    return world


def asked(world: World) -> int:
    """How often the server was asked for changes."""
    return sum(name == "getMore" for _, name, _ in world.recorder.commands)


def revocations_told(world: World) -> list[str]:
    """Of which withdrawals the process is told from now on."""
    told: list[str] = []
    world.platform.watcher.on_revocation(told.append)
    return told


def withdraw(mongo: Client, world: World, keys: list[str], **fields: Any) -> None:
    """Write records that tokens of those keys were withdrawn, or used."""
    records = [{"_id": key, "expiresAt": None, **fields} for key in keys]
    mongo[world.admin_db.name]["revocations"].insert_many(records)


def test_changes_that_come_fast_are_fetched_together(current: World, mongo: Client) -> None:
    told = revocations_told(current)
    current.recorder.commands.clear()
    began = time.monotonic()
    for number in range(300):
        withdraw(mongo, current, [str(number)])
    eventually(lambda: len(told) == 300)
    most = watching.ANSWERS_PER_SECOND * (time.monotonic() - began) + watching.BURST
    assert asked(current) <= most + 300 / BATCH_SIZE + 1
    assert told == [str(number) for number in range(300)], "each is told, in order"
    assert is_current(current)


def test_no_question_is_asked_in_vain_between_two_heartbeats(current: World) -> None:
    heartbeats = current.admin_db["heartbeats"]

    def beats() -> int:
        return int((heartbeats.find_one() or {}).get("beats", 0))

    before, began = beats(), time.monotonic()
    current.recorder.commands.clear()
    eventually(lambda: beats() >= before + 8)
    late = (time.monotonic() - began) / (2 * watching.HEARTBEAT_SECONDS)
    assert asked(current) <= (beats() - before) + late + 2


def test_many_changes_at_once_leave_others_their_turn(
    current: World, mongo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = revocations_told(current)
    turns: list[int] = []
    watcher = current.platform.watcher
    wait = watcher._stopping.wait

    def wait_for_others(seconds: float) -> bool:
        if threading.current_thread() is watcher._thread:
            turns.append(len(told))
        return wait(seconds)

    monkeypatch.setattr(watcher._stopping, "wait", wait_for_others)
    withdraw(mongo, current, [str(number) for number in range(2_000)])
    eventually(lambda: len(told) == 2_000)
    eventually(lambda: turns[-1:] == [2_000])
    between = [after - before for before, after in zip([0, *turns], turns, strict=False)]
    assert max(between) <= BATCH_SIZE


@pytest.mark.parametrize("fields", [{"used": True}, {}])
def test_the_end_of_a_withdrawal_is_told_to_nobody(
    current: World, mongo: Client, fields: dict[str, Any]
) -> None:
    """MongoDB removes them when the tokens have expired, thousands at a time."""
    withdraw(mongo, current, [str(number) for number in range(500)], **fields)
    if not fields:
        told = revocations_told(current)
        withdraw(mongo, current, ["last"])
        eventually(lambda: "last" in told)
    told = revocations_told(current)
    mongo[current.admin_db.name]["revocations"].delete_many({})
    withdraw(mongo, current, ["one more"])
    eventually(lambda: "one more" in told)
    assert told == ["one more"]


def test_a_measurement_of_a_cluster_is_told_to_nobody(current: World, mongo: Client) -> None:
    told: list[str] = []
    current.platform.watcher.on_cluster_change(told.append)
    records = mongo[current.admin_db.name]["clusters"]
    records.insert_one({"_id": "green", "state": "open"})
    records.update_one({"_id": "green"}, {"$set": {"measured": {"bytes": 7}}})
    records.update_one({"_id": "green"}, {"$set": {"state": "draining"}})
    records.delete_one({"_id": "green"})
    eventually(lambda: len(told) == 3)


@contextmanager
def stream_interrupted(mongo: Client, world: World) -> Iterator[None]:
    """Let the stream fail again and again, though it can be opened."""
    with failing(mongo, "alwaysOn", "getMore", errorCode=13):
        eventually(lambda: world.platform.watcher._failures > 0)
        yield


def status(user: User, **headers: str) -> int:
    return user.get("/api/users/me", headers=headers).status_code


def elsewhere(world: World, mongo: Client, owner: User, change: dict[str, Any]) -> None:
    """Change the tenant's record as another process would."""
    tenants = mongo[world.admin_db.name]["tenants"]
    tenants.update_one({"_id": ObjectId(owner.tenant_id)}, change)


def test_a_stream_that_failed_goes_on_where_it_was(current: World, mongo: Client) -> None:
    """What is known stays so, and what was missed is heard: else all processes would read all they
    know again, at once."""
    acme, zenith = current.tenant("Acme", subdomain="acme"), current.tenant("Zenith")
    assert [status(acme), status(zenith)] == [200, 200]
    gaps: list[None] = []
    current.platform.watcher.on_gap(lambda: gaps.append(None))

    with stream_interrupted(mongo, current):
        elsewhere(current, mongo, zenith, {"$set": {"status": "suspended"}})

    eventually(lambda: is_current(current))
    current.recorder.commands.clear()
    assert [status(acme), status(zenith)] == [200, 403]
    assert current.recorder.count("find", "tenants") == 1, "that of the one that has changed"
    assert current.recorder.count("find", "revocations") == 0
    assert gaps == []


def test_after_the_database_was_dropped_the_stream_begins_anew(
    current: World, mongo: Client
) -> None:
    """It has ended then, and must not be asked for ever."""
    current.platform.watcher._place = None
    name = current.admin_db.name
    copies = {one: [*mongo[name][one].find()] for one in mongo[name].list_collection_names()}
    thread = current.platform.watcher._thread
    began = current.platform.watcher._followed_since
    mongo.drop_database(name)
    for collection, documents in copies.items():
        if documents:
            mongo[name][collection].insert_many(documents)
    eventually(lambda: current.platform.watcher._followed_since > began)
    eventually(lambda: is_current(current))
    assert current.platform.watcher._thread is thread


def host_look_ups(world: World) -> int:
    return sum(
        name == "find"
        and command["find"] == "tenants"
        and not {"subdomain", "domains"}.isdisjoint(command["filter"])
        for _, name, command in world.recorder.commands
    )


def test_a_tenants_change_makes_only_its_own_hosts_be_looked_up_again(
    current: World, mongo: Client
) -> None:
    acme, zenith = (
        current.tenant("Acme", subdomain="acme"),
        current.tenant("Zenith", subdomain="zenith"),
    )
    assert status(acme, Host="acme.localhost") == 200
    assert status(zenith, Host="zenith.localhost") == 200
    assert status(zenith, Host="peak.localhost") == 403
    current.recorder.commands.clear()

    elsewhere(current, mongo, zenith, {"$set": {"status": "suspended"}})
    eventually(lambda: status(zenith, Host="zenith.localhost") == 403)
    elsewhere(current, mongo, zenith, {"$set": {"status": "active"}})
    eventually(lambda: status(zenith, Host="zenith.localhost") == 200)
    assert status(acme, Host="acme.localhost") == 200
    assert host_look_ups(current) == 0

    elsewhere(current, mongo, zenith, {"$set": {"subdomain": "peak"}})
    eventually(lambda: status(zenith, Host="peak.localhost") == 200)
    assert status(zenith, Host="zenith.localhost") == 403
    current.recorder.commands.clear()
    assert status(acme, Host="acme.localhost") == 200
    assert host_look_ups(current) == 0

    elsewhere(current, mongo, zenith, {"$set": {"domains": ["a.example", "b.example"]}})
    eventually(lambda: status(acme, Host="b.example") == 403)
    elsewhere(current, mongo, zenith, {"$pop": {"domains": 1}})
    eventually(lambda: status(acme, Host="b.example") == 200)
    elsewhere(current, mongo, zenith, {"$push": {"domains": "c.example"}})
    eventually(lambda: status(acme, Host="c.example") == 403)
    elsewhere(current, mongo, zenith, {"$unset": {"domains": ""}})
    eventually(lambda: status(acme, Host="c.example") == 200)


def test_the_sizes_of_the_caches_are_settings(make_world: MakeWorld) -> None:
    world = make_world(
        token_cache_size=1, revocation_cache_size=1, host_cache_size=1, tenant_stale_seconds=LONG
    )
    eventually(lambda: is_current(world))
    first, second = world.tenant("Acme", subdomain="acme"), world.tenant("Zenith")
    for user in (first, second, first):
        world.recorder.commands.clear()
        assert user.get("/api/users/me", headers={"Host": "elsewhere.example"}).status_code == 200
        assert world.recorder.count("find", "revocations") == 1
    platform = world.platform
    assert len(platform.tokens._verified) == 1
    assert len(platform.revocations._recent._known) == 1
    assert status(first, Host="acme.localhost") == 200
    assert len(platform.host_names._recent._known) == 1
    assert len(platform.host_names._recent._about) == 1, "and so is what is known of them"


def test_all_clusters_are_read_at_once_and_seldom(current: World, mongo: Client) -> None:
    """Also while there is no stream that would tell of changes."""
    connections = current.platform.connections
    for number in range(8):
        connections._clusters._uris[f"c{number}"] = "mongodb://c.example/"
    current.recorder.commands.clear()
    connections.refresh_clusters()
    assert current.recorder.count("find", "clusters") == 1
    assert connections._clusters.known() == [], "none of them is there"


def test_a_cluster_that_nobody_uses_is_left_and_found_again(
    monkeypatch: pytest.MonkeyPatch, make_world: MakeWorld, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr(clients, "SHARED_IDLE_MS", 50)
    monkeypatch.setattr(clusters, "IDLE_SECONDS", 0.1)
    blue: Client = request.getfixturevalue("blue")
    world: World = request.getfixturevalue("world")
    owner = world.tenant("Acme", cluster="blue")
    name = world.record(owner.tenant_id)["dbName"]

    def opened() -> set[str]:
        return {cluster for cluster, _ in world.platform.connections.cluster_clients()}

    lease = world.platform.connections.lease(ObjectId(owner.tenant_id))
    assert "blue" in opened()
    eventually(lambda: world.platform.connections._clusters._clients.keys() == {"default"})
    assert lease.database.command("ping")["ok"], "who has leased it may use it on"
    lease.release()
    eventually(lambda: opened() == {"default"})
    assert status(owner) == 200
    assert blue[name]["users"].count_documents({}) == 1


def test_clusters_are_watched_by_one_socket_for_each_server(world: World, blue: Client) -> None:
    world.tenant("Acme", cluster="blue")
    monitoring = {
        cluster: opened.monitoring
        for cluster, opened in world.platform.connections.cluster_clients()
    }
    assert monitoring == {"default": 2, "blue": 1}
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("pymongo_server_rtt_thread") <= 1, "of the admin database's client"
