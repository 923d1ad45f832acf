"""A copy is the whole of a tenant's database, byte for byte: restored, cloned and moved."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.binary import Binary
from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.collection_specs import read_specs
from multitenant.tenancy.contents.raw_documents import RAW
from tests.conftest import MakeWorld
from tests.integration.backups import Multitenant, back_up, restore, told
from tests.integration.test_copies import clone, restore_as_new
from tests.integration.test_move import database, move
from tests.support import World, answer

Client = MongoClient[dict[str, Any]]
Fill = Callable[[MongoDatabase], None]

FAR = DatetimeMS(2**62)
NOT_UTF8 = RawBSONDocument(b"\x0e\0\0\0\x02t\0\x02\0\0\0\xff\0\0")
SYMBOL = RawBSONDocument(b"\x0e\0\0\0\x0et\0\x02\0\0\0s\0\0")
UNDEFINED = RawBSONDocument(b"\x08\0\0\0\x06u\0\0")
UUID = "00112233-4455-6677-8899-aabbccddeeff"
ODD_IDS = [
    FAR,
    Timestamp(0, 0),
    Decimal128("1.10"),
    Binary(b"x", 0x80),
    {"b": 1, "a": FAR},
    NOT_UTF8,
    SYMBOL,
    MinKey(),
    "text",
    1.5,
    True,
    None,
]


def everything(db: MongoDatabase) -> dict[str, Any]:
    """All options, indexes and documents in the database as MongoDB has them, undecoded."""
    found = {}
    collection: Any
    listed: Any
    for listed in db.cursor_command("listCollections", codec_options=RAW):
        name = listed["name"]
        if name.startswith("system.") and name != "system.js":
            continue
        indexes, documents = [], []
        if listed["type"] == "collection":
            listing: Any = db.cursor_command("listIndexes", name, codec_options=RAW)
            indexes = [index.raw for index in listing]
            collection = db.get_collection(name, codec_options=RAW)
            documents = sorted(one.raw for one in collection.find())
        found[name] = (listed["options"].raw, indexes, documents)
    return found


def as_of(tenant_id: Any, contents: dict[str, Any]) -> dict[str, Any]:
    """The same contents in the database of that tenant: it differs in the identity alone, which
    the platform writes into the record of the first migration."""
    options, indexes, documents = contents["migrations"]
    records: list[Any] = [RawBSONDocument(raw) for raw in documents]
    (first,) = (record for record in records if record["_id"] == 1)
    assert list(first)[-1] == "tenantId"
    identified = bson.encode({**first, "tenantId": ObjectId(tenant_id)})
    others = [record.raw for record in records if record is not first]
    return contents | {"migrations": (options, indexes, sorted([*others, identified]))}


def names_of_the_platform(db: MongoDatabase) -> None:
    """Collections of the tenant's own that are called as the platform's, or MongoDB's, are."""
    db.create_collection("owner", capped=False, validator={"name": {"$type": "string"}})
    db["owner"].insert_many([{"_id": "tenant", "name": "Ben"}, {"name": "Eve"}])
    db["owner"].create_index("name", unique=True)
    db["copying"].insert_one({"_id": "copying"})
    db["filling"].insert_one({"_id": "filling"})
    db["multitenant.filling.1"].insert_one({"_id": "filling", "noteId": 1, "more": 1})
    db["multitenant.filling.2"].insert_one({"_id": "filling", "noteId": 3})
    db["manifest"].insert_one({"x": 1})
    db["turns"].insert_many([{"_id": _id, "mine": True} for _id in ("move", "following")])
    db["migrations"].insert_many([{"_id": _id} for _id in ("mine", {"a": 1}, ObjectId(), 2.5)])
    db["system.js"].insert_one({"_id": "f", "value": Code("function(){return 1}")})
    db.create_collection("empty")


def odd_collections(db: MongoDatabase) -> None:
    """Names and options that are rare."""
    for name in ("x" * 200, "ä" * 90 + "1", "ä" * 90 + "2", "/etc/passwd", "a b%20", "a\nb", "~"):
        db[name].insert_one({"name": name})
    engine = {"wiredTiger": {"configString": "block_compressor=zlib"}}
    db.create_collection("engine", storageEngine=engine, indexOptionDefaults={})
    db.create_collection("defaults", indexOptionDefaults={"storageEngine": {"wiredTiger": {}}})
    db["defaults"].insert_one({"x": 1})
    db["defaults"].create_index("x", storageEngine=engine)


def conditions(db: MongoDatabase) -> None:
    """Validators, views and partial indexes with what looks like the type of a value, or is one of
    a kind that Python or JSON does not have."""
    values: list[Any] = [
        {"$regex": "^a", "$options": "i", "$ne": "admin"},
        {"$options": "i", "$regex": "^a"},
        {"$regex": "^a"},
        {"$regex": Regex("^a", "m")},
        {"$not": {"$regex": "^a", "$options": "i"}},
        {"$type": "string"},
        {"$eq": Regex("^a", "i")},
        {"$in": [Regex("a"), Binary(b"x", 4), b"raw", Decimal128("1.0"), 1, Int64(1), 1.0, -0.0]},
        {"$gte": MinKey(), "$lte": MaxKey()},
        {"$lt": FAR, "$gt": Timestamp(0, 0)},
        {"$ne": float("nan")},
        {"$ne": ObjectId()},
        {"$eq": {"a": Code("x"), "b": Code("x", {"y": FAR})}},
        {"$eq": {"$ref": "a", "$id": ObjectId()}},
        {"$ne": NOT_UTF8},
        {"$ne": SYMBOL},
        {"$ne": RawBSONDocument(b"\x10\0\0\0\x01n\0\x01\0\0\0\0\0\xf8\xff\0")},
        {"$elemMatch": {"$regex": "^a", "$options": "i"}},
    ]
    look_alikes: list[Any] = [
        {"$date": {"$numberLong": "5"}},
        {"$date": "2026-01-01T00:00:00Z"},
        {"$date": 5},
        {"$oid": "00112233445566778899aabb"},
        {"$oid": "no id"},
        {"$numberLong": "1"},
        {"$numberInt": "x"},
        {"$numberDouble": "1.0"},
        {"$numberDecimal": "1"},
        {"$binary": "AAAA", "$type": "00"},
        {"$binary": {"base64": "AAAA", "subType": "00"}},
        {"$uuid": UUID},
        {"$timestamp": {"t": 1, "i": 2}},
        {"$regex": "^a", "$options": "i"},
        {"$regularExpression": {"pattern": "^a", "options": "i"}},
        {"$code": "x"},
        {"$code": "x", "$scope": {}},
        {"$symbol": "x"},
        {"$undefined": True},
        {"$minKey": 1},
        {"$maxKey": 1},
        {"$dbPointer": {"$ref": "a", "$id": "00112233445566778899aabb"}},
        {"$ref": "a", "$id": 1},
    ]
    literals = [{"$ne": ["$x", {"$literal": one}]} for one in look_alikes]
    every: list[dict[str, Any]] = [{"x": one} for one in values]
    every += [{"$expr": one} for one in literals]
    for number, one in enumerate(every):
        db.command({"create": f"v{number}", "validator": {"$or": [one, {"y": 1}]}})
        db.command({"create": f"w{number}", "viewOn": "v0", "pipeline": [{"$match": one}]})
    db.create_collection(
        "collated",
        collation={"locale": "de@collation=phonebook", "strength": 1, "numericOrdering": True},
    )
    compared: list[Any] = [FAR, Regex("^a", "i"), {"$date": 5}, NOT_UTF8, Timestamp(0, 0)]
    for number, value in enumerate(compared):
        db["collated"].create_index(
            [("b", 1), ("a", -1)], name=f"p{number}", partialFilterExpression={"x": {"$eq": value}}
        )


def odd_values(db: MongoDatabase) -> None:
    """Documents that PyMongo does not decode, or not as they are, and that MongoDB would change."""
    db.create_collection("values", validator={"size": {"$type": "int"}})
    db["values"].insert_many(
        ({"_id": _id, "n": number} for number, _id in enumerate(ODD_IDS)),
        bypass_document_validation=True,
    )
    rows: list[Any] = [FAR, DatetimeMS(-(2**62)), NOT_UTF8, SYMBOL, UNDEFINED, Regex("a", "u")]
    db["rows"].insert_many({"v": row, "w": [row, {"x": row}]} for row in rows)
    db["rows"].insert_one(RawBSONDocument(b"\x11\0\0\0\x10_id\0\x07\0\0\0\x06u\0\0"))
    zero = Timestamp(0, 0)
    every = {"at": zero, "$at": zero, "a.b": zero, "": zero, "d": {"at": zero}, "l": [zero]}
    fixed = [{"$replaceWith": {"$literal": RawBSONDocument(bson.encode({"_id": 1, **every}))}}]
    for name in ("zero", "values"):
        db.get_collection(name).insert_one({"_id": 1}, bypass_document_validation=True)
        db[name].update_one({"_id": 1}, fixed, bypass_document_validation=True)
    assert everything(db)["zero"][2] == [bson.encode({"_id": 1, **every})]
    db["zero"].create_index("at", unique=True)


@pytest.mark.parametrize(
    "fill",
    [names_of_the_platform, odd_collections, conditions, odd_values],
    ids=lambda it: it.__name__,
)
@pytest.mark.slow
def test_nothing_is_left_out_or_changed(
    world: World, blue: Client, tmp_path: Path, fill: Fill
) -> None:
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    fill(db)
    before = everything(db)
    for number, gzipped in enumerate((False, True)):
        directory = back_up(world, owner, tmp_path / str(number), gzipped=gzipped)
        made = restore_as_new(world, directory, name=f"Restored {number}", cluster="default")
        restored = everything(world.db_of(str(made.tenant_id)))
        assert restored == as_of(made.tenant_id, before)
    made = clone(world, owner, name="Clone", cluster="default")
    cloned = everything(world.db_of(str(made.tenant_id)))
    assert cloned == as_of(made.tenant_id, before)

    moved = move(world, owner)
    assert everything(database(world, owner, blue)) == everything(db)
    assert {name: before[name] for name in before} == {
        name: everything(db)[name] for name in before
    }
    assert moved.late == 0
    assert owner.get("/api/users/me").status_code == 200


def test_what_changes_during_a_move_is_copied_unaltered(world: World, blue: Client) -> None:
    """Also the tenant's functions, of which no change stream tells."""
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    odd_values(db)
    db["system.js"].insert_many({"_id": name, "value": 1} for name in ("kept", "changed", "gone"))

    def change(step: str) -> None:
        if not step.startswith("Copied"):
            return
        db["system.js"].update_one({"_id": "changed"}, {"$set": {"value": 2}})
        db["system.js"].delete_one({"_id": "gone"})
        db["system.js"].insert_one({"_id": "added", "value": FAR})
        db["values"].update_many({}, {"$set": {"far": FAR}}, bypass_document_validation=True)
        db["rows"].update_many({}, {"$set": {"far": FAR}})
        db["values"].delete_many({"_id": {"$in": [FAR, NOT_UTF8, "text"]}})
        pipeline = [{"$set": {"again": {"$literal": Timestamp(0, 0)}}}]
        db["zero"].update_one({"_id": 1}, pipeline)
        db["turns"].insert_one({"_id": "move", "mine": True})

    moved = move(world, owner, tell=change)
    assert everything(database(world, owner, blue)) == everything(db)
    assert moved.late == 0


def test_a_database_on_a_server_of_its_own_keeps_its_mark_and_the_tenants_collection(
    make_world: MakeWorld, elsewhere: EmbeddedServer, their_uri: str, theirs: Client, tmp_path: Path
) -> None:
    """Both are in the collection `owner`."""
    world = make_world(tenant_uri_allowed_hosts=f"127.0.0.1:{elsewhere._port}")
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    db.create_collection("owner", collation={"locale": "de"})
    db["owner"].insert_one({"_id": 1, "name": "Ben", "at": FAR})
    db["owner"].create_index("name")
    before = everything(db)["owner"]

    directory = back_up(world, owner, tmp_path / "shared")
    there = restore_as_new(world, directory, name="There", dbUri=their_uri)
    mark = {"_id": "tenant", "tenantId": there.tenant_id}
    assert theirs["acme"]["owner"].count_documents(mark) == 1
    assert everything(theirs["acme"])["owner"][:2] == before[:2]
    assert theirs["acme"]["owner"].count_documents({}) == 2

    user = world.login("owner@acme.example", tenant="There")
    directory = back_up(world, user, tmp_path / "external")
    for back in (
        clone(world, user, name="Back"),
        restore_as_new(world, directory, name="Restored"),
    ):
        assert everything(world.db_of(str(back.tenant_id)))["owner"] == before
    path = f"/api/tenants/{there.tenant_id}"
    world.operator.delete(path)
    gone = answer(world.operator.post(f"{path}/purge", {"confirm": "There"}))["gone"]
    assert all(gone.values())
    assert theirs["acme"].list_collection_names() == []


@pytest.mark.parametrize("name", ["a..b", "a."])
def test_a_name_that_drivers_refuse_is_named_and_the_other_tenants_go_on(
    world: World, blue: Client, multitenant: Multitenant, tmp_path: Path, name: str
) -> None:
    owner, other = (world.tenant(one, cluster="default") for one in ("Acme", "Globex"))
    world.db_of(owner.tenant_id).command({"create": name})

    result = multitenant("backup", "--all", "--output", tmp_path / "b", "--json", code=1)
    errors = {one["name"]: one.get("error") for one in told(result)}
    assert repr(name) in errors.pop("Acme")
    assert set(errors.values()) == {None}
    for copy in (lambda: clone(world, owner, name="Copy"), lambda: move(world, owner)):
        with pytest.raises(BackupError, match=repr(name)):
            copy()
    result = multitenant("clusters", "drain", "default", "--move", "--json", code=1)
    (failed,) = told(result)["failed"]
    assert failed["name"] == "Acme"
    assert repr(name) in failed["error"]
    assert world.record(other.tenant_id)["cluster"] == "blue"


def test_whatever_fails_with_one_tenant_the_others_are_backed_up_and_moved(
    world: World, blue: Client, multitenant: Multitenant, tmp_path: Path, monkeypatch: Any
) -> None:
    """Also an error that nobody has thought of."""
    owner, other = (world.tenant(one, cluster="default") for one in ("Acme", "Globex"))
    unlucky = world.record(owner.tenant_id)["dbName"]

    def read(db: MongoDatabase) -> Any:
        if db.name == unlucky:
            raise RuntimeError("out of luck")
        return read_specs(db)

    for module in ("snapshots", "comparing"):
        monkeypatch.setattr(f"multitenant.tenancy.contents.{module}.read_specs", read)
    result = multitenant("backup", "--all", "--output", tmp_path / "b", "--json", code=1)
    errors = {one["name"]: one.get("error") for one in told(result)}
    assert errors.pop("Acme") == "RuntimeError: out of luck"
    assert set(errors.values()) == {None}
    result = multitenant("clusters", "drain", "default", "--move", "--json", code=1)
    (failed,) = told(result)["failed"]
    assert (failed["name"], failed["error"]) == ("Acme", "RuntimeError: out of luck")
    assert world.record(other.tenant_id)["cluster"] == "blue"


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda db: db["migrations"].insert_one({"_id": 99}), "does not know"),
        (lambda db: db["users"].update_many({}, {"$set": {"createdAt": FAR}}), "not as users are"),
        (lambda db: db["users"].insert_one({"email": "x"}), "not as users are"),
        (lambda db: db["users"].update_many({}, {"$set": {"status": "disabled"}}), "no owner"),
    ],
)
def test_a_backup_that_would_not_be_restored_says_so_when_it_is_made(
    world: World, multitenant: Multitenant, tmp_path: Path, spoil: Fill, why: str
) -> None:
    owner = world.tenant("Acme")
    spoil(world.db_of(owner.tenant_id))
    output = tmp_path / "b"
    result = multitenant("backup", "--tenant", "acme", "--output", output, "--json", code=1)
    (done,) = told(result)
    assert why in done["warning"]
    assert why in result.stderr
    with pytest.raises(BackupError, match=why):
        restore(world, output / owner.tenant_id)
    with pytest.raises(BackupError, match=why):
        clone(world, owner, name="Copy")
