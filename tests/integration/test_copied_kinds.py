"""Every kind of collection that MongoDB has is copied whole: by backups, clones and moves,
also where change streams do not tell of it."""

import struct
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, ObjectId, Timestamp
from bson.raw_bson import RawBSONDocument
from pymongo import IndexModel, MongoClient
from pymongo.server_selectors import writable_server_selector

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.contents.raw_documents import RAW
from tests.integration.backups import Multitenant, back_up, told
from tests.integration.test_copies import clone, restore_as_new
from tests.integration.test_move import database, move, nothing_is_left
from tests.integration.test_unaltered_copies import FAR, NOT_UTF8, as_of
from tests.support import World

Client = MongoClient[dict[str, Any]]
MEASURED: dict[str, Any] = {"timeField": "at", "metaField": "of", "granularity": "minutes"}
CLUSTERED: dict[str, Any] = {"key": {"_id": 1}, "unique": True}


def everything(db: MongoDatabase) -> dict[str, Any]:
    """All options, indexes and documents as MongoDB has them, measurements in their buckets and
    capped collections in their order, undecoded."""
    found = {}
    for listed in db.cursor_command("listCollections", codec_options=RAW):
        name: Any = listed["name"]
        if name == "system.views":
            continue
        indexes: list[Any] = []
        documents: list[Any] = []
        options: Any = listed["options"]
        if listed["type"] == "collection":
            listing: Any = db.cursor_command("listIndexes", name, codec_options=RAW)
            indexes = [index.raw for index in listing]
            collection: Any = db.get_collection(name, codec_options=RAW)
            documents = [bytes(one.raw) for one in collection.find()]
            if not options.get("capped"):
                documents.sort()
        found[name] = (options.raw, indexes, documents)
    return found


def measure(db: MongoDatabase, *, count: int = 1500) -> None:
    """More measurements than a bucket holds, some of another shape, in the last minutes."""
    now = utc_now()
    rows: list[dict[str, Any]] = [
        {"v": n, "at": now + timedelta(seconds=n % 60), "a": "x", "of": {"sensor": n % 2}}
        for n in range(count)
    ]
    rows += [{"at": now, "of": 1, "v": one} for one in ("text", FAR, NOT_UTF8, Code("x"))]
    rows += [{"at": now, "v": {"zero": Timestamp(0, 0)}}] * 2
    db["measured"].insert_many(rows)


def grow(db: MongoDatabase) -> None:
    """Let a capped collection hold more than its size: what is there may grow."""
    db.create_collection("grown", capped=True, size=4096, max=50)
    db["grown"].insert_many([{"_id": -n, "x": "a"} for n in range(40)])
    db["grown"].update_many({}, {"$set": {"x": "b" * 1000}})


def kinds(db: MongoDatabase) -> None:
    """A collection of each kind."""
    year = 365 * 24 * 3600
    db.create_collection("measured", timeseries=MEASURED, expireAfterSeconds=year)
    db["measured"].create_index([("of.sensor", 1), ("at", 1)], name="by sensor")
    measure(db)
    for name in ("owner", "a b"):
        db.create_collection(name, timeseries={"timeField": "t"}, collation={"locale": "de"})
    db["a b"].insert_one({"t": utc_now(), "x": 1})
    db.create_collection("log", capped=True, size=4096, collation={"locale": "de", "strength": 1})
    db["log"].insert_many([{"_id": n, "at": FAR} for n in (3, 1, 2)])
    db["log"].insert_many([{"x": "y" * 200} for _ in range(30)])
    grow(db)
    db["system.js"].insert_one({"_id": "f", "value": Code("function(){return 1}")})
    db.create_collection("clustered", clusteredIndex=CLUSTERED, expireAfterSeconds=3600)
    db["clustered"].insert_many([{"_id": utc_now()}, {"_id": 1}])
    db.create_collection("images", changeStreamPreAndPostImages={"enabled": True})
    for name, option in {"pre": {"recordPreImages": True}, "id": {"autoIndexId": True}}.items():
        db.command({"create": name, **option})
    db.command({"create": "old id", "idIndex": {"v": 1, "key": {"_id": 1}, "name": "_id_"}})
    field: dict[str, Any] = {"path": "ssn", "keyId": Binary(b"0" * 16, 4), "bsonType": "string"}
    field |= {"queries": {"queryType": "equality"}}
    db.command({"create": "secret", "encryptedFields": {"fields": [field]}})
    secret = {"ssn": Binary(b"\x07" + b"0" * 30, 6), "__safeContent__": [b"x"]}
    db["secret"].insert_one(secret, bypass_document_validation=True)
    rare: list[Any] = [{"v": 1}, {"unique": True, "sparse": True}, {"hidden": True}]
    for number, options in enumerate(rare):
        db["indexed"].create_index(f"a{number}", **options)
    keys: list[Any] = [{"a": 1.5, "b": -2}, {"b": Decimal128("1")}, {"c": float("inf")}]
    named = [{"key": key, "name": f"{number}" * 200} for number, key in enumerate(keys)]
    db.command({"createIndexes": "indexed", "indexes": named})
    db["indexed"].create_indexes([one_of_many(n) for n in range(50)])
    db["indexed"].create_index("ready")
    db.command({"collMod": "indexed", "index": {"name": "ready_1", "prepareUnique": True}})
    views = [f"view{n:02}" for n in range(18)]
    for view, on in zip(views, [*views[1:], "measured"], strict=True):
        db.command({"create": view, "viewOn": on, "pipeline": [{"$match": {"x": FAR}}]})
    db.command({"create": "nothing's", "viewOn": "nothing", "pipeline": []})


def one_of_many(number: int) -> Any:
    """One of many indexes."""
    return IndexModel([(f"field {number}", 1)], name=f"index {number}", sparse=bool(number % 2))


def looks_like_the_platforms(tenant_id: str, admin_db_name: str) -> Callable[[MongoDatabase], None]:
    """Documents that are as the platform's marks are, and are the tenant's all the same."""

    def fill(db: MongoDatabase) -> None:
        claim = {"_id": "tenant", "tenantId": ObjectId(tenant_id), "adminDb": admin_db_name}
        db["owner"].insert_one(claim)
        other = ObjectId()
        for suffix, note_id in (("1", 1), ("2", "2"), (f"{other}", other), (f"{other}x", other)):
            db[f"multitenant.filling.{suffix}"].insert_one({"_id": "filling", "noteId": note_id})
        for name in ("counters", "locks", "memberships", "provisionings", "tenants", "audit"):
            db[name].insert_one({"_id": "tenant", "tenantId": ObjectId(tenant_id)})
        db["turns"].insert_many([{"_id": ObjectId(), "taken": n} for n in range(3)])
        migrations = [{"_id": _id, "name": "m0001_initial"} for _id in (Int64(1000), False, "1")]
        db["migrations"].insert_many(migrations)
        db["settings"].insert_one({"_id": {"$ref": "a", "$id": 1, "$db": "x"}})
        twice = b"\x10a\0\1\0\0\0\x10a\0\2\0\0\0"
        size = struct.pack("<i", 4 + 9 + len(twice) + 1)
        db["twice"].insert_one(RawBSONDocument(size + b"\x10_id\0\7\0\0\0" + twice + b"\0"))
        db["large ids"].insert_many({"_id": f"{n:03}" + "x" * 100_000} for n in range(200))

    return fill


@pytest.mark.slow
@pytest.mark.parametrize("which", ["kinds", "look-alikes"])
def test_all_of_it_is_copied(world: World, blue: Client, tmp_path: Path, which: str) -> None:
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    fill = looks_like_the_platforms(owner.tenant_id, world.admin_db.name)
    (kinds if which == "kinds" else fill)(db)
    before = everything(db)
    usage = world.operator.get(f"/api/tenants/{owner.tenant_id}/usage")
    assert usage.status_code == 200, usage.text
    for number, gzipped in enumerate((False, True)):
        directory = back_up(world, owner, tmp_path / str(number), gzipped=gzipped)
        made = restore_as_new(world, directory, name=f"Restored {number}", cluster="default")
        assert everything(world.db_of(str(made.tenant_id))) == as_of(made.tenant_id, before)
    made = clone(world, owner, name="Clone", cluster="blue")
    copy = database(world, world.login("owner@acme.example", tenant="Clone"), blue)
    assert everything(copy) == as_of(made.tenant_id, before)

    moved = move(world, owner)
    assert everything(database(world, owner, blue)) == before
    assert (moved.late, moved.verified) == (0, moved.documents)
    assert len(list(copy["grown"].find())) == (40 if which == "kinds" else 0)
    move(world, owner, "default")
    assert everything(database(world, owner, blue)) == before


@pytest.mark.slow
def test_what_changes_during_a_move_where_no_change_stream_tells(
    world: World, blue: Client
) -> None:
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    db.create_collection("measured", timeseries=MEASURED)
    measure(db, count=10)
    db.create_collection("log", capped=True, size=4096)
    db["log"].insert_many([{"x": n} for n in range(100)])
    db["system.js"].insert_many([{"_id": "kept", "value": 1}, {"_id": "gone", "value": 1}])

    def change(step: str) -> None:
        if step.startswith("Copied"):
            db["measured"].delete_many({"of": 1})
            measure(db, count=5)
            db["log"].insert_many([{"y": "z" * 100} for _ in range(18)])  # the first ones go
            db["log"].update_one({"y": {"$exists": True}}, {"$set": {"y": "changed"}})
            db["system.js"].delete_one({"_id": "gone"})
            db["system.js"].insert_one({"_id": "added", "value": FAR})
            db["todos"].insert_one({"far": FAR})

    moved = move(world, owner, tell=change)
    assert everything(database(world, owner, blue)) == everything(db)
    assert (moved.late, moved.followed) == (0, 1)


def test_a_capped_collection_that_is_dropped_during_a_move_ends_it(
    world: World, blue: Client
) -> None:
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    db.create_collection("log", capped=True, size=4096)
    with pytest.raises(BackupError, match="meanwhile"):
        move(world, owner, tell=lambda _: db.drop_collection("log"))
    nothing_is_left(world, blue, owner)


def test_ids_that_are_equal_and_not_the_same_change_hands(world: World, blue: Client) -> None:
    """A number of another type, or a text that the collation takes for the same, with a value that
    was another document's."""
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    db.create_collection("texts", collation={"locale": "de", "strength": 1})
    before: list[Any] = [1, 2.0, Decimal128("3")]
    after: list[Any] = [1.0, Int64(2), 3]
    for name, ids in (("numbers", before), ("texts", ["a", "b", "c"])):
        db[name].create_index("taken", unique=True)
        db[name].insert_many({"_id": _id, "taken": n} for n, _id in enumerate(ids))

    def change(step: str) -> None:
        if step.startswith("Copied"):
            for name, ids in (("numbers", after), ("texts", ["A", "B", "C"])):
                db[name].delete_many({})
                db[name].insert_many({"_id": _id, "taken": 2 - n} for n, _id in enumerate(ids))

    move(world, owner, tell=change)
    assert everything(database(world, owner, blue)) == everything(db)


@pytest.mark.slow
def test_the_largest_documents_and_ids_are_copied(
    world: World, blue: Client, tmp_path: Path
) -> None:
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    zero = [{"$set": {"zero": {"$literal": Timestamp(0, 0)}}}]
    db["large"].insert_one({"_id": 1, "x": "y" * (16 * 2**20 - 60)})
    deep: Any = {"x": 1}
    for _ in range(170):
        deep = {"d": deep}
    db["large"].insert_one({"_id": 2, "d": deep})
    db["large"].update_many({}, zero)
    ids = [letter * size * 2**20 for letter, size in (("a", 3), ("b", 2))]
    db["large"].insert_many([{"_id": _id} for _id in ids])
    before = everything(db)
    directory = back_up(world, owner, tmp_path / "backup")
    made = restore_as_new(world, directory, name="Restored", cluster="default")
    assert everything(world.db_of(str(made.tenant_id))) == as_of(made.tenant_id, before)

    def change(step: str) -> None:
        if step.startswith("Copied"):
            db["large"].update_many({"_id": {"$in": [1, 2]}}, [{"$set": {"d": 1}}])
            db["large"].update_one({"_id": ids[0]}, zero)

    move(world, owner, tell=change)
    assert everything(database(world, owner, blue)) == everything(db)


TURNS: list[Callable[[MongoDatabase], object]] = [
    lambda db: db.command({"create": "turns", "viewOn": "todos", "pipeline": []}),
    lambda db: db.create_collection("turns", timeseries=MEASURED),
    lambda db: db.create_collection("turns", capped=True, size=4096),
    lambda db: db.create_collection("turns", validator={"mine": True}),
]


@pytest.mark.slow
def test_no_collection_of_the_tenants_keeps_it_from_being_moved(world: World, blue: Client) -> None:
    """Whatever bears the name of a collection that the platform makes when it needs it; and a
    validator on one that it has made."""
    owner = world.tenant("Acme", cluster="default")
    world.db_of(owner.tenant_id).command({"collMod": "migrations", "validator": {"mine": True}})
    for number, make in enumerate(TURNS):
        db = database(world, owner, blue)
        db.drop_collection("turns")
        make(db)
        before = everything(db)
        move(world, owner, "default" if number % 2 else "blue")
        assert everything(database(world, owner, blue)) == before


def run_raw(client: Any, command: bytes) -> Any:
    """Send a command that PyMongo cannot express, and return MongoDB's answer."""
    server = client._get_topology().select_server(writable_server_selector, "test")
    with server.pool.checkout() as connection:
        body = struct.pack("<I", 0) + b"\0" + command
        connection.send_message(struct.pack("<iiii", 16 + len(body), 1, 0, 2013) + body, 0)
        return bson.decode(connection.receive_message(1).payload_document)


def text(name: bytes, value: bytes) -> bytes:
    return b"\x02" + name + b"\0" + struct.pack("<i", len(value) + 1) + value + b"\0"


def document(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def not_utf8(name: str) -> Callable[[str], bytes]:
    """A command that gives something a name, in the database, that is not UTF-8."""
    key = b"\x03key\0" + document(b"\x10a\0\1\0\0\0")
    index = b"\x04indexes\0" + document(b"\x030\0" + document(key, text(b"name", b"i\xff")))
    commands = {
        "collection": [text(b"create", b"x\xff")],
        "index": [text(b"createIndexes", b"todos"), index],
        "view": [text(b"create", b"v"), text(b"viewOn", b"x\xff"), b"\x04pipeline\0" + document()],
    }
    return lambda db_name: document(*commands[name], text(b"$db", db_name.encode()))


@pytest.mark.parametrize("what", ["collection", "index", "view", "buckets"])
def test_what_no_driver_can_ask_for_is_named_and_not_left_out(
    world: World, blue: Client, multitenant: Multitenant, tmp_path: Path, mongo: Client, what: str
) -> None:
    """Names that are not UTF-8, and buckets of no time series; other tenants go on."""
    owner, other = (world.tenant(one, cluster="default") for one in ("Acme", "Globex"))
    name = world.record(owner.tenant_id)["dbName"]
    if what == "buckets":
        mongo[name]["system.buckets.mine"].insert_one({"x": 1})
    else:
        assert run_raw(mongo, not_utf8(what)(name))["ok"] == 1
    why = "system.buckets.mine" if what == "buckets" else "not UTF-8"
    result = multitenant("backup", "--all", "--output", tmp_path / "b", "--json", code=1)
    errors = {one["name"]: one.get("error") for one in told(result)}
    assert why in errors.pop("Acme")
    assert set(errors.values()) == {None}
    with pytest.raises(BackupError, match=why):
        clone(world, owner, name="Clone")
    result = multitenant("clusters", "drain", "default", "--move", "--json", code=1)
    (failed,) = told(result)["failed"]
    assert failed["name"] == "Acme"
    assert why in failed["error"]
    assert world.record(other.tenant_id)["cluster"] == "blue"
