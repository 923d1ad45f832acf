"""`multitenant migrations run --maintenance`: nobody works in a tenant while it is migrated."""

import os
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Event, Thread
from types import ModuleType
from typing import Any

import pytest
from bson import ObjectId
from click.testing import Result

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.operations.fleet import Fleet
from tests.integration.conftest import Command
from tests.integration.test_doctor import told
from tests.integration.test_fleet_migrations import NEW, OLD, add_migration, versions
from tests.support import User, World, answer, eventually, in_thread, refusal

STALE_SECONDS = 0.2
OPERATION_SECONDS = 1.0


class Probe(ModuleType):
    """A migration that looks at what happens outside while it runs."""

    def __init__(self) -> None:
        super().__init__("multitenant.migrations.tenant.m0006_probe")
        self.look: Callable[[MongoDatabase], Any] = lambda _: None
        self.seen: dict[str, Any] = {}

    def up(self, db: MongoDatabase) -> None:
        self.seen[db.name] = self.look(db)

    def down(self, db: MongoDatabase) -> None:
        self.seen[f"down {db.name}"] = self.look(db)


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    module = Probe()
    add_migration(monkeypatch, module)
    return module


@pytest.fixture
def run(command: Command, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run migrations in maintenance, on tenants by name."""
    monkeypatch.setenv("TENANT_STALE_SECONDS", str(STALE_SECONDS))
    monkeypatch.setenv("OPERATION_TIMEOUT_MS", str(int(OPERATION_SECONDS * 1000)))
    multitenant = command

    def run(*tenants: str, command: tuple[str, ...] = ("run",)) -> Result:
        named = [part for tenant in tenants for part in ("--tenant", tenant)]
        return multitenant("migrations", *command, "--maintenance", *named)

    return run


def status_of(owner: User) -> int:
    return int(in_thread(lambda: owner.get("/api/users/me")).status_code)


def test_a_tenant_is_refused_in_its_own_turn_and_served_before_and_after(
    world: World, probe: Probe, run: Callable[..., Result]
) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")

    def look(db: MongoDatabase) -> tuple[str, int, int]:
        response = in_thread(lambda: acme.get("/api/users/me"))
        refusal(response, 503, "tenant_maintenance")
        return response.headers["Retry-After"], response.status_code, status_of(globex)

    probe.look = look
    done = run("acme")
    assert done.exit_code == 0, done.output
    assert probe.seen == {world.record(acme.tenant_id)["dbName"]: ("5", 503, 200)}
    eventually(lambda: status_of(acme) == 200)
    record = world.record(acme.tenant_id)
    assert (record["status"], record["schemaVersion"]) == ("active", NEW)
    assert "maintenanceUntil" not in record
    entry = answer(world.operator.get("/api/audit?action=migrations.run"))["items"][0]
    assert entry["details"]["maintenance"] is True


def test_a_request_that_is_under_way_ends_before_the_migration_begins(
    world: World, probe: Probe, run: Callable[..., Result]
) -> None:
    """One that has its lease already, and takes longer than any one operation may."""
    owner = world.tenant("Acme")
    events: list[str] = []
    probe.look = lambda _: events.append("migration")
    lease_taken = Event()

    def request() -> None:
        with world.platform.connections.lease(ObjectId(owner.tenant_id)) as lease:
            lease_taken.set()
            time.sleep((STALE_SECONDS + OPERATION_SECONDS) * 2)
            lease.database["todos"].insert_one({"title": "x"})
            events.append("request")

    thread = Thread(target=request)
    thread.start()
    assert lease_taken.wait(10)
    done = run("acme")
    assert done.exit_code == 0, done.output
    thread.join()
    assert events == ["request", "migration"]


def test_who_has_nothing_to_be_done_is_not_disturbed(
    world: World, probe: Probe, run: Callable[..., Result]
) -> None:
    owner = world.tenant("Acme")
    assert run("acme").exit_code == 0
    world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": {"schemaVersion": OLD}})
    before = world.record(owner.tenant_id)["updatedAt"]
    assert run("acme").exit_code == 0
    assert world.record(owner.tenant_id)["updatedAt"] == before, "its status was not touched"


def test_suspended_and_deleted_tenants_stay_what_they_are(
    world: World, probe: Probe, run: Callable[..., Result]
) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    world.operator.post(f"/api/tenants/{acme.tenant_id}/suspend")
    world.operator.delete(f"/api/tenants/{globex.tenant_id}")
    done = run("acme", "globex")
    assert done.exit_code == 0, done.output
    assert world.record(acme.tenant_id)["status"] == "suspended"
    assert world.record(globex.tenant_id)["status"] == "deleted"
    assert {it[:2] for name, it in versions(world).items() if name != "operators"} == {(NEW, NEW)}


def test_what_fails_is_taken_back_in_maintenance_and_served_again(
    world: World, probe: Probe, run: Callable[..., Result]
) -> None:
    owner = world.tenant("Acme")

    def fail(_: MongoDatabase) -> int:
        status = status_of(owner)
        if not probe.seen:
            probe.seen["up"] = status
            raise RuntimeError("not today")
        return status

    probe.look = fail
    assert run("acme").exit_code == 1
    assert probe.seen["up"] == 503
    assert versions(world)["Acme"][:2] == (OLD, OLD)
    eventually(lambda: status_of(owner) == 200)
    probe.look = lambda _: status_of(owner)
    platform = world.platform
    with Fleet(platform.connections, platform.cipher, parallel=1) as fleet:
        list(fleet.migrate([world.record(owner.tenant_id)]))
    back = run("acme", command=("rollback", "--yes", "--to", str(OLD)))
    assert back.exit_code == 0, back.output
    name = world.record(owner.tenant_id)["dbName"]
    assert (probe.seen[name], probe.seen[f"down {name}"]) == (200, 503)


def test_after_a_kill_it_ends_by_itself_and_the_next_run_goes_on(
    world: World,
    probe: Probe,
    run: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = world.tenant("Acme")
    short = timedelta(seconds=2)
    monkeypatch.setattr("multitenant.tenancy.lifecycle.maintenance.LASTS", short)
    monkeypatch.setattr("multitenant.tenancy.lifecycle.tenant_locks.LOCK_LASTS", short / 2)
    child = os.fork()
    if child == 0:
        probe.look = lambda _: os.kill(os.getpid(), signal.SIGKILL)
        run("acme")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    world.platform.connections.forget_all()
    assert status_of(owner) == 503
    probe.look = lambda _: status_of(owner)

    done = run("acme")  # while the maintenance of the killed one is not over

    assert done.exit_code == 0, done.output
    assert [*probe.seen.values()] == [503]
    eventually(lambda: status_of(owner) == 200)
    assert world.record(owner.tenant_id)["status"] == "active"


def test_the_doctor_tells_of_a_maintenance_that_nobody_has_ended(
    world: World, probe: Probe, command: Command, run: Callable[..., Result]
) -> None:
    owner = world.tenant("Acme")
    world.set_status(owner.tenant_id, "maintenance")
    assert status_of(owner) == 503
    endless = told(command("doctor", "--json"))["maintenance"]
    assert endless["found"] == "in maintenance, with no end set: Acme"
    refused = run("acme")
    assert refused.exit_code == 1
    assert "in maintenance already" in refused.output
    assert command("tenants", "activate", "acme").exit_code == 0
    eventually(lambda: status_of(owner) == 200)
    assert told(command("doctor", "--json"))["maintenance"]["level"] == "ok"
