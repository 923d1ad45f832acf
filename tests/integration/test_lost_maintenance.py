"""Maintenance, and locks, that a command had: once they are over, or were ended, it is refused."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from bson import ObjectId

from multitenant.errors import Conflict
from multitenant.repositories.admin import tenants
from multitenant.repositories.admin.locks import acquire_lock, check_lock, keep_locks
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.maintenance import ensure_in_maintenance, maintenance
from multitenant.tenancy.lifecycle.tenant_locks import TenantLocks
from multitenant.tenancy.migrations import TENANT_MIGRATIONS, TENANT_VERSION, Migration
from multitenant.tenancy.operations.fleet import Fleet, Migrated
from tests.conftest import Client, MakeWorld
from tests.integration.backups import back_up, restore
from tests.support import User, World, eventually, in_thread, refusal

MOVING: Any = import_module("multitenant.tenancy.operations.moving")
RESTORATION: Any = import_module("multitenant.tenancy.operations.restoration")
ACTOR = Actor.on_command_line()
MINUTE = timedelta(minutes=1)
LEFT = {"maintenanceUntil", "maintenanceHolder", "readOnly"}


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(tenant_stale_seconds=0.1)


def path(owner: User, action: str = "") -> str:
    return f"/api/tenants/{owner.tenant_id}{action}"


def expire(world: World, owner: User) -> None:
    there = {"_id": ObjectId(owner.tenant_id)}
    expired = {"$set": {"maintenanceUntil": utc_now() - timedelta(seconds=1)}}
    world.admin_db["tenants"].update_one(there, expired)


def write(owner: User, title: str) -> None:
    def served() -> bool:
        return owner.post("/api/to-do-list", {"title": title}).status_code == 201

    eventually(lambda: in_thread(served), seconds=10)


def nothing_is_left(world: World, owner: User, status: str = "active") -> None:
    record = world.record(owner.tenant_id)
    assert (record["status"], LEFT & record.keys()) == (status, set())


class TestLeases:
    def test_only_the_holder_extends_a_maintenance_and_only_before_it_expires(
        self, world: World
    ) -> None:
        owner = world.tenant("Acme")
        record = world.record(owner.tenant_id)
        extend = partial(tenants.extend_maintenance, world.admin_db, record["_id"], lasts=MINUTE)
        with maintenance(world.platform.connections, record, transaction_seconds=10) as begun:
            holder = begun["maintenanceHolder"]
            assert extend(holder=holder)
            assert not extend(holder="another")
            expire(world, owner)
            until = world.record(owner.tenant_id)["maintenanceUntil"]
            assert not extend(holder=holder)
            assert world.record(owner.tenant_id)["maintenanceUntil"] == until
        nothing_is_left(world, owner)

    def test_a_maintenance_that_has_expired_is_ended_in_the_record_before_the_tenant_is_served(
        self, world: World
    ) -> None:
        """So who has begun it sees that, whatever the clocks say."""
        owner = world.tenant("Acme")
        record = world.record(owner.tenant_id)
        with maintenance(world.platform.connections, record, transaction_seconds=10):
            expire(world, owner)
            write(owner, "x")
            nothing_is_left(world, owner)

    def test_the_end_of_a_maintenance_is_not_the_end_of_the_next_one(self, world: World) -> None:
        owner = world.tenant("Acme")
        record = world.record(owner.tenant_id)
        there = {"_id": record["_id"]}
        with maintenance(world.platform.connections, record, transaction_seconds=10):
            world.admin_db["tenants"].update_one(there, {"$set": {"maintenanceHolder": "another"}})
        assert world.record(owner.tenant_id)["status"] == "maintenance"
        world.operator.post(path(owner, "/activate"))
        nothing_is_left(world, owner)

    def test_an_expired_lock_is_not_renewed_though_nobody_has_taken_it(self, world: World) -> None:
        db = world.admin_db
        assert acquire_lock(db, "one", holder="me", lasts=-MINUTE)
        assert acquire_lock(db, "other", holder="me", lasts=MINUTE)
        keep_locks(db, holder="me", lasts=MINUTE)
        assert not check_lock(db, "one", holder="me")
        assert check_lock(db, "other", holder="me")
        assert not check_lock(db, "other", holder="you")

    def test_who_has_lost_a_lock_is_told_when_it_matters(self, world: World) -> None:
        tenant_id = ObjectId()
        with (
            TenantLocks(lambda: world.admin_db) as locks,
            locks.locked(tenant_id) as ensure_held,
        ):
            ensure_held()
            world.admin_db["locks"].update_many({}, {"$set": {"until": utc_now()}})
            with pytest.raises(Conflict, match="try again"):
                ensure_held()


class TestRestore:
    @pytest.mark.parametrize("lost", ["maintenance", "lock"])
    def test_a_restore_that_has_lost_what_it_had_is_refused(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: str
    ) -> None:
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        before = world.record(owner.tenant_id)["dbName"]
        real = RESTORATION.prepare_users

        def stand_still(*args: Any) -> Any:
            if lost == "maintenance":
                expire(world, owner)
                write(owner, "acknowledged")
            else:
                world.admin_db["locks"].update_many({}, {"$set": {"until": utc_now()}})
            return real(*args)

        monkeypatch.setattr(RESTORATION, "prepare_users", stand_still)
        with pytest.raises(Conflict):
            restore(world, directory)
        assert world.record(owner.tenant_id)["dbName"] == before
        nothing_is_left(world, owner)
        assert world.admin_db["provisionings"].count_documents({}) == 0


CHANGES: dict[str, Callable[[World, User], Any]] = {
    "rotate": lambda world, owner: world.operator.post(path(owner, "/rotate-credentials")),
    "share": lambda world, owner: world.operator.patch(path(owner), {"isolation": "shared"}),
}


class TestCredentials:
    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("read_only", [False, True])
    def test_they_are_not_changed_in_a_maintenance_and_it_ends_in_time(
        self, world: World, change: str, read_only: bool
    ) -> None:
        owner = world.tenant("Acme", isolation="dedicated")
        record = world.record(owner.tenant_id)
        with maintenance(
            world.platform.connections, record, transaction_seconds=10, read_only=read_only
        ):
            refusal(CHANGES[change](world, owner), 409, "conflict")
        nothing_is_left(world, owner)
        write(owner, "at once")
        assert CHANGES[change](world, owner).status_code == 200

    def test_whatever_else_was_changed_a_maintenance_ends_with_its_command(
        self, world: World
    ) -> None:
        """By an older release, or by hand."""
        owner = world.tenant("Acme", isolation="dedicated")
        record = world.record(owner.tenant_id)
        with maintenance(world.platform.connections, record, transaction_seconds=10):
            other = {"$set": {"credentials.other": "x"}}
            world.admin_db["tenants"].update_one({"_id": record["_id"]}, other)
        nothing_is_left(world, owner)
        back = {"$unset": {"credentials.other": ""}}
        world.admin_db["tenants"].update_one({"_id": record["_id"]}, back)


class TestLifecycle:
    @pytest.mark.parametrize("action", ["suspend", "delete", "activate"])
    @pytest.mark.parametrize("read_only", [False, True])
    def test_a_change_of_status_ends_a_maintenance_entirely(
        self, world: World, action: str, read_only: bool
    ) -> None:
        owner = world.tenant("Acme")
        record = world.record(owner.tenant_id)
        status = {"suspend": "suspended", "delete": "deleted", "activate": "active"}[action]
        with maintenance(
            world.platform.connections, record, transaction_seconds=10, read_only=read_only
        ) as begun:
            if action == "delete":
                world.operator.delete(path(owner))
            else:
                world.operator.post(path(owner, f"/{action}"))
            nothing_is_left(world, owner, status)
            with pytest.raises(Conflict):
                ensure_in_maintenance(world.admin_db, begun)
        nothing_is_left(world, owner, status)

    @pytest.mark.parametrize("action", ["suspend", "delete"])
    def test_a_move_whose_pause_was_ended_moves_nothing(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch, action: str
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        real = MOVING.Moves._switch

        def switch(*args: Any) -> Any:
            if action == "delete":
                world.operator.delete(path(owner))
            else:
                world.operator.post(path(owner, "/suspend"))
            return real(*args)

        monkeypatch.setattr(MOVING.Moves, "_switch", switch)
        with pytest.raises(Conflict, match="changed meanwhile"):
            world.platform.moves.move(ObjectId(owner.tenant_id), ACTOR, to="blue")
        assert world.record(owner.tenant_id)["cluster"] == "default"
        nothing_is_left(world, owner, "deleted" if action == "delete" else "suspended")
        assert world.admin_db["provisionings"].count_documents({}) == 0

    def test_a_purge_leaves_nothing_of_a_move_that_stood_still(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The move goes on after that, and is refused."""
        owner = world.tenant("Acme", cluster="default", isolation="dedicated")
        real = MOVING.Moves._switch
        prefix = world.platform.settings.tenant_db_prefix
        seen: list[Any] = []

        def copies() -> list[str]:
            return [name for name in blue.list_database_names() if name.startswith(prefix)]

        def switch(*args: Any) -> Any:
            seen.append(len(copies()))
            world.operator.delete(path(owner))
            purged = world.operator.post(path(owner, "/purge"), {"confirm": "Acme"})
            seen.append(set(purged.get_json()["responseObject"]["gone"].values()))
            seen.append(copies())
            return real(*args)

        monkeypatch.setattr(MOVING.Moves, "_switch", switch)
        with pytest.raises(Conflict):
            world.platform.moves.move(ObjectId(owner.tenant_id), ACTOR, to="blue")
        assert seen == [1, {True}, []]
        assert copies() == []
        users = blue.admin.command("usersInfo", {"forAllDBs": True})["users"]
        assert not [user for user in users if user["db"].startswith(prefix)]


class Probe(ModuleType):
    """A migration that does something while it runs."""

    def __init__(self) -> None:
        super().__init__("multitenant.migrations.tenant.m9999_probe")
        self.meanwhile: Callable[[], object] = lambda: None

    def up(self, db: MongoDatabase) -> None:
        self.meanwhile()

    def down(self, db: MongoDatabase) -> None:
        self.meanwhile()


class TestMigrations:
    @pytest.fixture
    def probe(self, monkeypatch: pytest.MonkeyPatch) -> Probe:
        module = Probe()
        migrations = (*TENANT_MIGRATIONS, Migration(TENANT_VERSION + 1, module))
        monkeypatch.setattr("multitenant.tenancy.operations.fleet.TENANT_MIGRATIONS", migrations)
        return module

    def migrate(self, world: World, owner: User, *, back: bool = False) -> Migrated:
        connections = world.platform.connections
        maintain = partial(maintenance, connections, transaction_seconds=10)
        records = [world.record(owner.tenant_id)]
        with Fleet(connections, world.platform.cipher, parallel=1, maintain=maintain) as fleet:
            if back:
                (done,) = fleet.roll_back(records, TENANT_VERSION)
            else:
                (done,) = fleet.migrate(records)
        return done

    def test_a_migration_during_which_the_tenant_was_served_is_not_recorded(
        self, world: World, probe: Probe
    ) -> None:
        owner = world.tenant("Acme")

        def stand_still() -> None:
            expire(world, owner)
            write(owner, "meanwhile")

        probe.meanwhile = stand_still
        done = self.migrate(world, owner)
        assert done.error is not None
        assert (done.after, world.record(owner.tenant_id)["schemaVersion"]) == (TENANT_VERSION,) * 2
        nothing_is_left(world, owner)
        probe.meanwhile = lambda: None
        assert self.migrate(world, owner).error is None
        probe.meanwhile = stand_still
        assert self.migrate(world, owner, back=True).error is not None
        probe.meanwhile = lambda: None
        assert self.migrate(world, owner, back=True).after == TENANT_VERSION

    @pytest.mark.parametrize("lost", ["lock", "deletion"])
    def test_nor_is_one_whose_lock_was_lost_or_whose_tenant_was_brought_back(
        self, world: World, probe: Probe, lost: str
    ) -> None:
        owner = world.tenant("Acme")

        def stand_still() -> None:
            if lost == "lock":
                world.admin_db["locks"].update_many({}, {"$set": {"until": utc_now()}})
            else:
                in_thread(lambda: world.operator.post(path(owner, "/restore")))

        if lost == "deletion":
            world.operator.delete(path(owner))
        probe.meanwhile = stand_still
        assert self.migrate(world, owner).error is not None
        nothing_is_left(world, owner)
        assert world.db_of(owner.tenant_id)["migrations"].count_documents({}) == TENANT_VERSION

    def test_it_begins_when_every_process_has_acknowledged_and_not_after_a_time(
        self, world: World, probe: Probe
    ) -> None:
        """A request that takes longer than any setting says ends first."""
        owner = world.tenant("Acme")
        lease = world.platform.connections.lease(ObjectId(owner.tenant_id))
        events: list[str] = []
        probe.meanwhile = lambda: events.append("migration")
        thread = threading.Thread(target=self.migrate, args=(world, owner))
        thread.start()
        handshakes = world.admin_db["handshakes"]
        eventually(lambda: handshakes.count_documents({}) == 1, seconds=10)
        lease.database["todos"].insert_one({"title": "slow", "createdAt": utc_now()})
        events.append("request")
        lease.release()
        thread.join()
        assert events == ["request", "migration"]
