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
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.contents.raw_documents import RAW
from tests.conftest import MakeWorld
from tests.integration.backups import Multitenant, back_up, restore, told
from tests.integration.test_copies import clone, restore_as_new
from tests.integration.test_external_tenants import purge
from tests.integration.test_move import database, move
from tests.support import User, World, answer

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
    for listed in db.cursor_command("listCollections", codec_options=RAW):
        name = listed["name"]
        if name.startswith("system.") and name != "system.js":
            continue
        indexes, documents = [], []
        if listed["type"] == "collection":
            indexes = [one.raw for one in db.cursor_command("listIndexes", name, codec_options=RAW)]
            collection = db.get_collection(name, codec_options=RAW)
            documents = sorted(one.raw for one in collection.find())
        found[name] = (listed["options"].raw, indexes, documents)
    return found


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
    for number, one in enumerate([FAR, Regex("^a", "i"), {"$date": 5}, NOT_UTF8, Timestamp(0, 0)]):
        db["collated"].create_index(
            [("b", 1), ("a", -1)], name=f"p{number}", partialFilterExpression={"x": {"$eq": one}}
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
    db["rows"].insert_one(RawBSONDocument(bson.encode({"_id": 7})[:-1] + b"\x06u\0\0"))
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
        assert everything(world.db_of(str(made.tenant_id))) == before
    made = clone(world, owner, name="Clone", cluster="default")
    assert everything(world.db_of(str(made.tenant_id))) == before

    moved = move(world, owner)
    assert everything(database(world, owner, blue)) == everything(db)
    assert {name: before[name] for name in before} == {
        name: everything(db)[name] for name in before
    }
    assert moved.late == 0
    assert owner.get("/api/users/me").status_code == 200
