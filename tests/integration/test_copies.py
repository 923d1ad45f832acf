"""New tenants with another one's data: `multitenant restore --as-new` and `multitenant clone`."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from pymongo import MongoClient

from multitenant.errors import AlreadyExists, BackupError, Conflict
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.contents.copying import copy_database
from multitenant.tenancy.operations.stored_backup import StoredBackup
from multitenant.tenancy.operations.tenant_copies import CopiedTenant
from tests.conftest import MakeWorld
from tests.integration.backups import (
    Multitenant,
    back_up,
    memberships,
    raw_contents,
    shapes,
    told,
    users,
)
from tests.integration.test_backup import order
from tests.integration.test_external_tenants import purge
from tests.integration.test_garbage import find
from tests.support import PASSWORD, User, World, answer

Client = MongoClient[dict[str, Any]]


def restore_as_new(world: World, directory: Path, **fields: Any) -> CopiedTenant:
    backup = StoredBackup(directory)
    backup.verify(lambda _: None)
    new = TenantCopy.model_validate(fields)
    return world.platform.copies.restore(backup, new, Actor.on_command_line(), lambda _: None)


def clone(world: World, owner: User, **fields: Any) -> CopiedTenant:
    new = TenantCopy.model_validate(fields)
    record = world.record(owner.tenant_id)
    return world.platform.copies.clone(record, new, Actor.on_command_line(), lambda _: None)


def fill_with_everything(db: MongoDatabase) -> None:
    """Collections with every option and kind of index, and values of every type."""
    db.create_collection("log", capped=True, size=100_000, max=50)
    db.create_collection("people", collation={"locale": "de", "strength": 2})
    db["people"].insert_many([{"name": "ärger", "n": n} for n in range(3)])
    db["people"].create_index("n", unique=True)
    db["people"].create_index([("name", 1), ("n", -1)], name="both")
    db["people"].create_index("name", name="plain", collation={"locale": "simple"})
    db["people"].create_index(
        "email", unique=True, partialFilterExpression={"email": {"$type": "string"}}
    )
    db["people"].create_index("at", expireAfterSeconds=3600)
    db["people"].create_index("sparse", sparse=True, hidden=True)
    db["texts"].create_index([("text", "text")], weights={"text": 3}, default_language="german")
    db["texts"].create_index([("place", "2dsphere")])
    db["texts"].create_index([("$**", 1)], wildcardProjection={"n": 0})
    db["texts"].create_index([("h", "hashed")])
    db["strict"].insert_one({"_id": 1, "size": "older than the validator"})
    db.command(
        "collMod",
        "strict",
        validator={"size": {"$type": "int"}, "code": {"$in": ["a", Int64(1)]}},
        validationAction="error",
    )
    db.create_collection("clustered", clusteredIndex={"key": {"_id": 1}, "unique": True})
    db["clustered"].insert_one({"_id": 1})
    db.create_collection("recent", viewOn="log", pipeline=[{"$match": {"n": {"$gt": 1}}}])
    db["a/b%c d"].insert_one({"x": 1})
    db["log"].insert_many([{"_id": n} for n in (3, 1, 2)])
    db["values"].insert_many(
        [
            {"v": value}
            for value in (
                *(1, Int64(1), 1.0, Decimal128("1.10"), float("inf"), True, None, "", "x\0y"),
                *(ObjectId(), Timestamp(1, 2), MinKey(), MaxKey(), Regex("a", "i"), b"raw"),
                *(Binary(b"old", 2), DBRef("a", 1), {"z": 1, "a": {"$set": 2}}, [1, [2]]),
            )
        ]
    )
    db["values"].insert_one({"_id": {"b": 1, "a": 2}, "": "an empty name", "a.b": 1})
    db["empty"].create_index("x")


@pytest.mark.parametrize("way", ["backup", "gzip", "clone"])
def test_everything_comes_through(world: World, tmp_path: Path, way: str) -> None:
    owner = world.tenant("Acme", modules=["todos"], userLimit=7)
    db = world.db_of(owner.tenant_id)
    fill_with_everything(db)
    if way == "clone":
        made = clone(world, owner, name="Copy")
    else:
        directory = back_up(world, owner, tmp_path, gzipped=way == "gzip")
        made = restore_as_new(world, directory, name="Copy")
    record = world.record(str(made.tenant_id))
    copy = world.db_of(str(made.tenant_id))
    assert raw_contents(copy, "migrations") == raw_contents(db, "migrations")
    histories = [list(one["migrations"].find({}, {"tenantId": 0})) for one in (copy, db)]
    assert histories[0] == histories[1]
    assert shapes(copy) == shapes(db)
    assert [one["_id"] for one in copy["log"].find()] == [3, 1, 2]
    assert (record["modules"], record["userLimit"]) == (["todos"], 7)
    assert made.copied.documents == sum(map(len, raw_contents(db).values()))
    with pytest.raises(BackupError, match="not empty"):
        copy_database(db, copy, lambda _: None)


class TestUsers:
    def test_they_belong_to_both_tenants_and_are_apart_in_each(
        self, world: World, tmp_path: Path
    ) -> None:
        """The users of a copy have the same ids as those of the original."""
        owner = world.tenant("Acme")
        ben = world.colleague(owner, "member")
        made = restore_as_new(world, back_up(world, owner, tmp_path), name="Copy")
        tenant_id = str(made.tenant_id)
        assert memberships(world, tenant_id) == users(world.db_of(tenant_id))
        assert memberships(world, tenant_id) == memberships(world, owner.tenant_id)
        assert owner.get("/api/users/me").status_code == 200

        email = memberships(world, tenant_id)[ObjectId(owner.user_id)]
        there = world.login(email, tenant="Copy")
        assert (there.user_id, there.tenant_id) == (owner.user_id, tenant_id)
        there.post("/api/to-do-list", {"title": "only in the copy"})
        assert answer(owner.get("/api/to-do-list"))["items"] == []
        body = {"currentPassword": PASSWORD, "newPassword": "another one, in the copy"}
        assert there.put("/api/users/me/password", body).status_code == 200
        assert there.delete(f"/api/users/{ben.user_id}").status_code == 200
        assert owner.get("/api/users/me").status_code == 200
        assert ben.get("/api/users/me").status_code == 200
        assert ObjectId(ben.user_id) in memberships(world, owner.tenant_id)
        assert ObjectId(ben.user_id) not in memberships(world, tenant_id)

    def test_a_copy_of_a_tenant_that_is_gone_brings_its_users_back(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        purge(world, owner)
        made = restore_as_new(world, directory, name="Acme")
        assert made.tenant_id != ObjectId(owner.tenant_id)
        assert world.login("owner@acme.example").user_id == owner.user_id


def test_a_clone_under_writes_is_of_one_moment(world: World) -> None:
    owner = world.tenant("Acme")
    order(owner, 0)
    stop = threading.Event()

    def write() -> None:
        number = 1
        while not stop.is_set():
            order(owner, number)
            number += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [world.db_of(str(clone(world, owner, name=f"C{n}").tenant_id)) for n in range(2)]
    finally:
        stop.set()
        writer.join()
    for db in copies:
        ids = {document["_id"] for document in db["orders"].find()}
        items = list(db["orderItems"].find())
        assert len(items) == 3 * len(ids)
        assert {item["orderId"] for item in items} == ids


class TestHowItIsMade:
    def test_a_name_that_is_taken_is_refused_before_anything_is_copied(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme", subdomain="acme")
        before = world.databases()
        for fields in ({"name": "ACME"}, {"name": "New", "subdomain": "acme"}):
            with pytest.raises(AlreadyExists):
                clone(world, owner, **fields)
        assert world.databases() == before

    def test_a_copy_that_fails_leaves_nothing(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The name is taken by somebody else just before the end."""
        owner = world.tenant("Acme")
        monkeypatch.setattr(
            "multitenant.tenancy.operations.tenant_copies.ensure_free", lambda *_: None
        )
        before = world.databases()
        with pytest.raises(AlreadyExists):
            clone(world, owner, name="Acme")
        assert world.databases() == before
        assert world.admin_db["provisionings"].count_documents({}) == 0
        assert world.admin_db["tenantusers"].count_documents({}) == 2

    def test_the_operators_tenant_is_not_copied(self, world: World) -> None:
        with pytest.raises(Conflict, match="operators"):
            clone(world, world.operator, name="More operators")

    def test_a_copy_is_as_isolated_as_the_original_unless_told_otherwise(
        self, world: World
    ) -> None:
        owner = world.tenant("Acme", isolation="dedicated")
        dedicated = clone(world, owner, name="One")
        shared = clone(world, owner, name="Two", isolation="shared")
        isolations = [world.record(str(one.tenant_id))["isolation"] for one in (dedicated, shared)]
        assert isolations == ["dedicated", "shared"]
        for name in ("One", "Two"):
            assert world.login("owner@acme.example", tenant=name).get("/api/users/me").json

    def test_it_goes_to_a_server_of_its_own_and_comes_from_one(
        self, make_world: MakeWorld, theirs: Client, their_uri: str
    ) -> None:
        world = make_world(tenant_uri_allowed_hosts="127.0.0.1")
        owner = world.tenant("Acme")
        owner.post("/api/to-do-list", {"title": "x"})
        there = clone(world, owner, name="There", dbUri=their_uri)
        assert theirs["acme"]["todos"].count_documents({}) == 1
        user = world.login("owner@acme.example", tenant="There")
        assert len(answer(user.get("/api/to-do-list"))["items"]) == 1
        back = clone(world, user, name="Back")
        assert world.db_of(str(back.tenant_id))["todos"].count_documents({}) == 1
        assert "owner" not in world.db_of(str(back.tenant_id)).list_collection_names()
        path = f"/api/tenants/{there.tenant_id}"
        world.operator.delete(path)
        assert all(
            answer(world.operator.post(f"{path}/purge", {"confirm": "There"}))["gone"].values()
        )
        assert theirs["acme"].list_collection_names() == []


def test_gc_leaves_a_copy_alone_that_the_admin_database_has_forgotten(world: World) -> None:
    """It was restored from a backup that is older than the copy: a note is there again, and the
    tenant's record is not. The database bears no mark of one that is being filled."""
    owner = world.tenant("Acme")
    before = world.databases()
    seen: list[Any] = []

    def remember(_: int) -> None:
        seen.extend(world.admin_db["provisionings"].find())

    new = TenantCopy.model_validate({"name": "Copy"})
    record = world.record(owner.tenant_id)
    made = world.platform.copies.clone(record, new, Actor.on_command_line(), remember)
    note = {**seen[0], "startedAt": utc_now() - timedelta(hours=2)}
    world.admin_db["tenants"].delete_one({"_id": made.tenant_id})
    world.admin_db["provisionings"].insert_one(note)
    (garbage,) = find(world)
    assert garbage.remove() is False
    assert world.databases() - before == {made.db_name}
    world.admin_db["provisionings"].delete_many({})
    world.admin_db.client.drop_database(made.db_name)


class TestTheCommands:
    def test_clone_makes_a_tenant(self, world: World, multitenant: Multitenant) -> None:
        owner = world.tenant("Acme")
        owner.post("/api/to-do-list", {"title": "x"})
        made = told(multitenant("clone", "acme", "Acme test", "--subdomain", "at", "--json"))
        assert world.record(made["tenantId"])["subdomain"] == "at"
        user = world.login("owner@acme.example", tenant="at")
        assert len(answer(user.get("/api/to-do-list"))["items"]) == 1
        assert multitenant("clone", "Acme", "www", "--subdomain", "www", code=1).exception

    def test_restore_as_new_makes_one(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path / "b")
        result = multitenant("restore", directory, "--as-new", "Acme yesterday")
        assert "Made the tenant Acme yesterday" in result.output
        assert world.login("owner@acme.example", tenant="Acme yesterday").tenant_id

    def test_a_uri_comes_from_a_file_or_standard_input_and_is_not_shown(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        world.tenant("Acme")
        (tmp_path / "uri").write_text("mongodb://u:secret@127.0.0.1/x\n")
        result = multitenant("clone", "Acme", "New", "--db-uri-file", tmp_path / "uri", code=1)
        assert "is not offered here" in str(result.exception)
        assert "secret" not in result.output + str(result.exception)
