"""`multitenant tenants gc`: what is left over, found and removed."""

from datetime import timedelta
from typing import Any

from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import MADE_AT, create_user
from multitenant.tenancy.lifecycle.garbage import Garbage
from tests.integration.test_dedicated import user_of, users_of
from tests.support import User, World, answer

Client = MongoClient[dict[str, Any]]


def find(world: World, *, days: int = 30) -> list[Garbage]:
    collector = world.garbage_collector(days=days)
    return list(collector.find(Actor.on_command_line(), older_than=timedelta(0)))


def delete(world: World, owner: User, *, days_ago: float) -> None:
    assert world.operator.delete(f"/api/tenants/{owner.tenant_id}").status_code == 200
    moment = utc_now() - timedelta(days=days_ago)
    changes = {"$set": {"deletedAt": moment}}
    world.admin_db["tenants"].update_one({"name": world.record(owner.tenant_id)["name"]}, changes)


def test_a_tenant_whose_deletion_is_old_is_purged_and_a_younger_one_is_not(world: World) -> None:
    old, young, alive = world.tenant("Old"), world.tenant("Young"), world.tenant("Alive")
    delete(world, old, days_ago=30.1)
    delete(world, young, days_ago=29.9)

    found = find(world)

    assert [(garbage.kind, garbage.name) for garbage in found] == [("tenant", "Old")]
    assert found[0].remove() is True
    names = {tenant["name"] for tenant in world.admin_db["tenants"].find()}
    assert names == {"operators", "Young", "Alive"}
    assert alive.get("/api/users/me").status_code == 200
    entry = answer(world.operator.get("/api/audit?action=tenant.purge"))["items"][0]
    assert (entry["actor"], entry["tenantId"]) == (None, old.tenant_id)
    assert entry["osUser"]
    assert find(world) == []


def test_mongodb_users_that_no_record_names_are_dropped_when_nobody_is_connected(
    world: World,
) -> None:
    """As a process leaves them that is killed between making a user and naming them, or between
    replacing a user and dropping them."""
    acme = world.tenant("Acme", isolation="dedicated")
    globex = world.tenant("Globex")
    for owner in (acme, globex):
        create_user(world.db_of(owner.tenant_id))
    young = {garbage.name for garbage in find(world)}
    assert young == set(), "they may be named in a moment"

    for owner in (acme, globex):
        db = world.db_of(owner.tenant_id)
        for name in users_of(db):
            db.command("updateUser", name, customData={MADE_AT: utc_now() - timedelta(hours=1)})
    found = find(world)

    assert [garbage.kind for garbage in found] == ["database users"] * 2
    assert all(garbage.remove() for garbage in found)
    assert users_of(world.db_of(acme.tenant_id)) == {user_of(world, acme).name}
    assert users_of(world.db_of(globex.tenant_id)) == set()
    assert acme.get("/api/users/me").status_code == 200


def test_users_that_the_platform_has_not_made_are_nobodys_business(
    world: World, mongo: Client
) -> None:
    owner = world.tenant("Acme")
    db = mongo[world.record(owner.tenant_id)["dbName"]]
    db.command("createUser", "report", pwd="report", roles=["read"])
    try:
        assert find(world) == []
    finally:
        db.command("dropUser", "report")


def test_the_users_of_a_tenant_whose_database_has_the_same_name_elsewhere_are_spared(
    world: World,
) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    record = world.record(owner.tenant_id)
    db = world.db_of(owner.tenant_id)
    (name,) = users_of(db)
    db.command("updateUser", name, customData={MADE_AT: utc_now() - timedelta(hours=1)})
    external = {**record, "_id": ObjectId(), "name": "Globex", "cluster": "external"}
    del external["credentials"]
    world.admin_db["tenants"].insert_one(external)
    try:
        assert find(world) == []
    finally:
        world.admin_db["tenants"].delete_one({"_id": external["_id"]})


def test_what_a_late_request_writes_after_a_purge_is_found(world: World) -> None:
    owner = world.tenant("Acme")
    path = f"/api/tenants/{owner.tenant_id}"
    with world.platform.connections.lease(ObjectId(owner.tenant_id)) as lease:
        world.operator.delete(path)
        assert answer(world.operator.post(f"{path}/purge", {"confirm": "Acme"}))["gone"]["database"]
        lease.database["todos"].insert_one({"title": "too late"})
        name = lease.database.name
    assert name in world.databases()
    long_ago = utc_now() - timedelta(hours=1)
    world.admin_db["provisionings"].update_many({}, {"$set": {"startedAt": long_ago}})

    found = find(world)

    assert [(garbage.kind, garbage.name) for garbage in found] == [("database", name)]
    assert found[0].remove()
    assert name not in world.databases()
    assert find(world) == []


def test_maintenance_that_is_over_is_shown_as_such_no_longer(world: World) -> None:
    """As a process leaves it that is killed while it restores or moves a tenant."""
    owner = world.tenant("Acme")
    path = f"/api/tenants/{owner.tenant_id}"
    world.set_status(owner.tenant_id, "maintenance")
    assert find(world) == [], "it has no end: somebody may want it so"
    until = utc_now() + timedelta(minutes=1)
    there = {"_id": ObjectId(owner.tenant_id)}
    world.admin_db["tenants"].update_one(there, {"$set": {"maintenanceUntil": until}})
    assert find(world) == [], "it goes on"
    over = {"maintenanceUntil": utc_now() - timedelta(seconds=1), "readOnly": True}
    world.admin_db["tenants"].update_one(there, {"$set": over})
    assert answer(world.operator.get(path))["status"] == "maintenance"
    (garbage,) = find(world)
    assert garbage.remove() is True
    assert answer(world.operator.get(path))["status"] == "active"
    assert not {"maintenanceUntil", "readOnly"} & world.record(owner.tenant_id).keys()
    assert garbage.remove() is False, "a maintenance that begins meanwhile is another one"
