"""What happens after a process was killed: time passes, and gc is run."""

import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest

from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle import garbage, orphans
from tests.conftest import Client
from tests.support import World

UNTIL_GC_IS_DONE = 30.0
UNTIL_SERVED = 30.0
ANY_AGE = timedelta(seconds=-2)
"""An ObjectId tells the time to the second."""
MINUTE = timedelta(minutes=1)


def let_time_pass(world: World, servers: Iterable[Client]) -> None:
    """Let the locks, the maintenance and the transactions of a dead process be over, and be sure
    that they would be by themselves."""
    for client in set(servers):
        _let_finish(client)
    admin_db, long_ago = world.admin_db, utc_now() - timedelta(hours=1)
    for lock in admin_db["locks"].find():
        assert lock["until"] < utc_now() + 10 * MINUTE, "it would be held for long"
    for tenant in admin_db["tenants"].find({"status": "maintenance"}):
        assert tenant["maintenanceUntil"] < utc_now() + 1.1 * MINUTE, "it would go on for long"
    admin_db["locks"].update_many({}, {"$set": {"until": long_ago}})
    admin_db["tenants"].update_many(
        {"status": "maintenance"}, {"$set": {"maintenanceUntil": long_ago}}
    )
    ours = world.platform.connections.presence._name
    admin_db["processes"].update_many({"_id": {"$ne": ours}}, {"$set": {"seenAt": long_ago}})


def collect_garbage(world: World, between: Callable[[], None]) -> None:
    """Run gc, whatever the age of what it finds, until it finds nothing. `between` makes everybody
    let go of what is not in use any more."""
    collector = world.garbage_collector()
    deadline = time.monotonic() + UNTIL_GC_IS_DONE
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(garbage, "MIN_AGE", ANY_AGE)
        patch.setattr(orphans, "MIN_AGE", ANY_AGE)
        while found := list(collector.find(Actor.on_command_line(), older_than=ANY_AGE)):
            names = [f"{one.kind} {one.name}" for one in found]
            assert time.monotonic() < deadline, f"gc does not get rid of {names}"
            gone = [one.remove() for one in found]
            if not all(gone):
                between()
                time.sleep(0.05)


def _let_finish(client: Client) -> None:
    """Wait until the server has done what was sent to it, and end the transactions that a dead
    process has left open, which the server does within transactionLifetimeLimitSeconds."""
    every: dict[str, Any] = {"allUsers": True, "idleConnections": False, "idleSessions": True}
    running = {"type": "op", "active": True, "op": {"$ne": "getmore"}, "command.hello": None}
    stages = [{"$currentOp": every}, {"$match": {"appName": "multitenant"}}]
    deadline = time.monotonic() + UNTIL_SERVED
    while list(client.admin.aggregate([*stages, {"$match": running}])):
        assert time.monotonic() < deadline, "MongoDB goes on with what was sent to it"
        time.sleep(0.002)
    for left in client.admin.aggregate([*stages, {"$match": {"type": "idleSession"}}]):
        client.admin.command("killAllSessionsByPattern", [{"lsid": left["lsid"]}])
