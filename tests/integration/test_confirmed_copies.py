"""What a copy consists of is on a majority before a tenant lives in it, whatever the default of the
deployment is."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bson import ObjectId

from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.actor import Actor
from tests.conftest import Client
from tests.integration.backups import back_up, restore
from tests.support import User, World, answer

ACTOR = Actor.on_command_line()
WRITES = {
    *("insert", "update", "delete", "findAndModify", "bulkWrite"),
    *("create", "createIndexes", "collMod", "drop", "dropDatabase", "dropIndexes"),
    *("createUser", "updateUser", "dropUser", "dropAllUsersFromDatabase"),
}
HARMLESS = {"ratelimits", "ratelimitcounters", "heartbeats"}
"""Collections in which a lost write does no harm: counters, and heartbeats (ADR 36)."""


def weak_writes(world: World) -> list[tuple[str, str, Any]]:
    """The writes that do not say that they wait for a majority; the commit of a transaction says it
    for all of its writes."""
    weak = []
    for database, name, command in world.recorder.commands:
        if not command:
            continue  # it has a password, so PyMongo does not tell it
        if name not in WRITES | {"commitTransaction"} or command[name] in HARMLESS:
            continue
        in_transaction = name in WRITES and command.get("autocommit") is False
        if not in_transaction and not _is_confirmed(command):
            weak.append((database, name, command[name]))
    return weak


def _is_confirmed(command: Mapping[str, Any]) -> bool:
    concern: Mapping[str, Any] = command.get("writeConcern", {})
    return concern.get("w") == "majority"


def names(world: World) -> set[str]:
    return {name for _, name, _ in world.recorder.commands} & WRITES


def fill(owner: User, world: World) -> None:
    assert owner.post("/api/to-do-list", {"title": "Buy milk"}).status_code == 201
    db = world.db_of(owner.tenant_id)
    db.create_collection("people", validator={"name": {"$exists": True}})
    db["people"].insert_one({"name": "Ada"})
    db["people"].create_index("name", unique=True)
    world.recorder.commands.clear()


def test_every_write_of_a_move_waits_for_a_majority(world: World, blue: Client) -> None:
    owner = world.tenant("Acme", cluster="default", isolation="dedicated")
    fill(owner, world)
    late = iter([{"title": "while it is copied"}])

    def write(_: int) -> None:
        for todo in late:
            assert owner.post("/api/to-do-list", todo).status_code == 201

    world.platform.moves.move(ObjectId(owner.tenant_id), ACTOR, to="blue", progress=write)
    assert {"insert", "update", "delete", "create", "createIndexes", "createUser"} <= names(world)
    assert weak_writes(world) == []
    titles = [todo["title"] for todo in answer(owner.get("/api/to-do-list"))["items"]]
    assert titles == ["Buy milk", "while it is copied"]


def test_every_write_of_a_restore_and_a_clone_waits_for_a_majority(
    world: World, tmp_path: Path
) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    fill(owner, world)
    restore(world, back_up(world, owner, tmp_path))
    new = TenantCopy.model_validate({"name": "Twin"})
    record = world.record(owner.tenant_id)
    world.platform.copies.clone(record, new, ACTOR, lambda _: None)
    assert {"insert", "create", "createIndexes", "createUser", "drop"} <= names(world)
    assert weak_writes(world) == []


def test_every_write_of_a_tenants_life_waits_for_a_majority(world: World) -> None:
    """From the migrations of its database to the end of it."""
    world.recorder.commands.clear()
    owner = world.tenant("Acme", isolation="dedicated")
    assert owner.post("/api/to-do-list", {"title": "Buy milk"}).status_code == 201
    path = f"/api/tenants/{owner.tenant_id}"
    assert world.operator.post(f"{path}/rotate-credentials").status_code == 200
    assert world.operator.delete(path).status_code == 200
    assert world.operator.post(f"{path}/purge", {"confirm": "Acme"}).status_code == 200
    assert {"insert", "createIndexes", "createUser", "dropDatabase"} <= names(world)
    assert weak_writes(world) == []
