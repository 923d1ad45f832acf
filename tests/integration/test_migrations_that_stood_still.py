"""A run of migrations that stood still until another one had the tenant's turn writes nothing about
it any more, wherever it stood: the record of what a database has had stays true."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.repositories.transactions import in_transaction
from multitenant.tenancy import migrations
from multitenant.tenancy.migrations import (
    TENANT_MIGRATIONS,
    TENANT_VERSION,
    Migration,
    newest_applied,
)
from multitenant.tenancy.operations.fleet import Fleet, Migrated
from tests.support import User, World, in_thread

Client = MongoClient[dict[str, Any]]
NEXT = TENANT_VERSION + 1


class Probe(ModuleType):
    """A migration that remembers how often it was done and undone."""

    def __init__(self) -> None:
        super().__init__("multitenant.migrations.tenant.m9999_probe")
        self.done: list[str] = []

    def up(self, db: MongoDatabase) -> None:
        self.done.append("up")

    def down(self, db: MongoDatabase) -> None:
        self.done.append("down")


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    module = Probe()
    with_probe = (*TENANT_MIGRATIONS, Migration(NEXT, module))
    monkeypatch.setattr("multitenant.tenancy.operations.fleet.TENANT_MIGRATIONS", with_probe)
    return module


def run(world: World, owner: User, *, back: bool = False) -> Migrated:
    records = [world.record(owner.tenant_id)]
    with Fleet(world.platform.connections, world.platform.cipher, parallel=1) as fleet:
        (done,) = fleet.roll_back(records, TENANT_VERSION) if back else fleet.migrate(records)
    return done


def stand_still(
    monkeypatch: pytest.MonkeyPatch, world: World, before: int, act: Callable[[], None]
) -> None:
    """Let the lock expire, and `act`, right before the nth record of a run."""
    number = 0

    def record(db: MongoDatabase, write: Callable[[], Any]) -> Any:
        nonlocal number
        number += 1
        if number == before:
            world.admin_db["locks"].update_many({}, {"$set": {"until": utc_now()}})
            in_thread(act)
        return in_transaction(db, write)

    monkeypatch.setattr(migrations, "in_transaction", record)


@pytest.mark.parametrize("cluster", ["default", "blue"])
def test_what_another_one_has_undone_is_not_recorded(
    world: World, blue: Client, probe: Probe, monkeypatch: pytest.MonkeyPatch, cluster: str
) -> None:
    owner = world.tenant("Acme", cluster=cluster)

    def there_and_back() -> None:
        assert run(world, owner).after == NEXT
        assert run(world, owner, back=True).after == TENANT_VERSION

    with monkeypatch.context() as patched:
        stand_still(patched, world, 1, there_and_back)
        assert run(world, owner).error is not None
    assert version(world, blue, owner) == TENANT_VERSION
    assert run(world, owner).after == NEXT


@pytest.mark.parametrize("step", [1, 2], ids=["before it", "after it"])
def test_what_another_one_has_done_again_is_not_undone(
    world: World, blue: Client, probe: Probe, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    owner = world.tenant("Acme")
    assert run(world, owner).after == NEXT

    def back_and_there() -> None:
        assert run(world, owner, back=True).error is None
        assert run(world, owner).after == NEXT

    with monkeypatch.context() as patched:
        stand_still(patched, world, step, back_and_there)
        assert run(world, owner, back=True).error is not None
    assert version(world, blue, owner) == NEXT
    assert probe.done[-1] == "up"


def test_a_tenants_own_view_called_turns_is_in_no_migrations_way(
    world: World, probe: Probe
) -> None:
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    db.drop_collection("turns")
    db.command({"create": "turns", "viewOn": "todos", "pipeline": []})
    done = run(world, owner)
    assert (done.error, done.after) == (None, NEXT)


def version(world: World, blue: Client, owner: User) -> int:
    """The version of the tenant's database, which must be that of its record."""
    record = world.admin_db["tenants"].find_one({"_id": ObjectId(owner.tenant_id)})
    assert record is not None
    client = blue if record["cluster"] == "blue" else world.admin_db.client
    found = newest_applied(client[record["dbName"]])
    assert record["schemaVersion"] == found
    return found
