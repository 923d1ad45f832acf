"""Documents of any shape, put into a database directly: every list and every read answers, as the
OpenAPI document says (which the client checks)."""

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from pymongo.errors import BulkWriteError

from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.positions import LENIENT
from tests.support import User, World, answer, refusal

FAR = DatetimeMS(2**62)
ODD: dict[str, Any] = {
    "null": None,
    "a text": "some text",
    "an empty text": "",
    "a number": 5,
    "a large number": Int64(2**62),
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "a decimal": Decimal128("1.50"),
    "no decimal": Decimal128("sNaN"),
    "a truth": True,
    "an id": ObjectId(),
    "bytes": b"\x00\xff",
    "a UUID": Binary(b"x" * 16, 4),
    "a date": datetime(2026, 1, 1, tzinfo=UTC),
    "a far date": FAR,
    "an early date": DatetimeMS(-(2**62)),
    "a timestamp": Timestamp(1, 2),
    "a pattern": Regex("a", "i"),
    "code": Code("1", {"a": ObjectId()}),
    "a reference": DBRef("todos", ObjectId(), "other"),
    "no reference": {"$ref": 5, "$id": FAR},
    "the least key": MinKey(),
    "the greatest key": MaxKey(),
    "an object": {"a": {"b": [FAR, b"x"]}},
    "a list": [FAR, "x", [1]],
    "an empty list": [],
}
SOUND = {("tokenVersion", "a number"), ("tokenVersion", "a truth"), ("createdAt", "a date")}
"""Nothing odd in a user."""
NOUNS: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    # The list, the stored fields, and how one of them is read.
    "todos": ("/api/to-do-list", {"title": "x", "done": False, "dueAt": None}, ["/{id}"]),
    "employees": ("/api/employees", {"name": "x", "email": "x@acme.example"}, ["/{id}"]),
    "posts": (
        "/api/posts?include=comments",
        {"title": "x", "content": "x", "published": True, "authorId": ObjectId()},
        ["/{id}", "/{id}?include=comments"],
    ),
    "orders": ("/api/orders", {"total": Decimal128("1.50")}, ["/{id}"]),
    "settings": ("/api/settings", {"key": "x", "value": 1}, []),
    "users": (
        "/api/users",
        {"email": "x@acme.example", "role": "member", "status": "active", "tokenVersion": 0},
        ["/{id}"],
    ),
}


@pytest.fixture(scope="module")
def owner(shared: World) -> User:
    return shared.tenant("Odd")


@pytest.fixture
def db(shared: World, owner: User) -> Iterator[MongoDatabase]:
    db = shared.db_of(owner.tenant_id).with_options(LENIENT)
    yield db
    for noun in (*NOUNS, "comments", "orderItems"):
        db[noun].delete_many({"_id": {"$ne": ObjectId(owner.user_id)}})


def walk(user: User, path: str, limit: int) -> list[Any]:
    """All items of a list, page by page."""
    items: list[Any] = []
    cursor = None
    mark = "&" if "?" in path else "?"
    while True:
        query = f"{mark}limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        response = user.get(path + query)
        assert response.status_code == 200, response.text
        page = answer(response)
        items += page["items"]
        assert len(items) < 1000, "the list has no end"
        cursor = page["nextCursor"]
        if cursor is None:
            return items


@pytest.mark.parametrize("noun", NOUNS)
def test_whatever_a_field_holds_lists_and_reads_answer(
    owner: User, db: MongoDatabase, noun: str
) -> None:
    path, sound, reads = NOUNS[noun]
    now = datetime.now(UTC)
    made: list[dict[str, Any]] = []
    for field in (*sound, "createdAt", "updatedAt"):
        for number, value in enumerate([*ODD.values(), ...]):
            dated = {"createdAt": now, "updatedAt": now}
            document = {"_id": ObjectId(), **sound, **dated, field: value}
            for text in ("email", "key"):
                if text in sound and field != text:
                    document[text] = f"x{field.lower()}{number}" + "@acme.example" * (
                        text == "email"
                    )
            if value is ...:
                del document[field]
            made.append(document)
    with suppress(BulkWriteError):  # emails and keys are unique
        db[noun].insert_many(made, ordered=False)
    # An array in the place of a time is listed on the first page only.
    listed = {
        document["_id"]
        for document in db[noun].find({"createdAt": {"$not": {"$type": "array"}}}, {"_id": 1})
    }
    made = [document for document in made if document["_id"] in listed]

    shown = walk(owner, path, 7)

    if noun != "settings":
        ids = [item["id"] for item in shown]
        assert len(ids) == len(set(ids)), "none is there twice"
        assert {str(document["_id"]) for document in made} <= set(ids), "none is left out"
        base = path.partition("?")[0]
        for document in made:
            for read in reads:
                response = owner.get(base + read.format(id=document["_id"]))
                assert response.status_code == 200, response.text
    else:
        assert len(made) <= len(shown) <= len(made) + 2


@pytest.mark.parametrize("kind", ODD)
def test_a_setting_is_read_whatever_it_holds(owner: User, db: MongoDatabase, kind: str) -> None:
    now = datetime.now(UTC)
    dated = {"createdAt": now, "updatedAt": now}
    value = ODD[kind]
    db["settings"].insert_one({"key": "odd", "value": {"inside": [value]}, **dated})
    (listed,) = answer(owner.get("/api/settings"))["items"]
    assert listed == answer(owner.get("/api/settings/odd"))
    (shown,) = listed["value"]["inside"]
    assert (shown is None) == (value is None), "nothing else reads as null"
    assert answer(owner.delete("/api/settings/odd")) == listed


def test_what_json_lacks_is_extended_json(owner: User, db: MongoDatabase) -> None:
    some_id = ObjectId()
    value = {"id": some_id, "nan": float("nan"), "price": Decimal128("1.50"), "far": FAR, "n": 1.5}
    db["settings"].insert_one({"key": "odd", "value": value})
    assert answer(owner.get("/api/settings/odd")) == {
        "key": "odd",
        "value": {
            "id": {"$oid": str(some_id)},
            "nan": {"$numberDouble": "NaN"},
            "price": {"$numberDecimal": "1.50"},
            "far": {"$date": {"$numberLong": str(2**62)}},
            "n": 1.5,
        },
        "createdAt": None,
        "updatedAt": None,
    }


def test_text_that_is_not_utf8_is_shown_with_replacements(owner: User, db: MongoDatabase) -> None:
    def broken(**fields: Any) -> RawBSONDocument:
        document = {"_id": ObjectId(), "createdAt": datetime.now(UTC), **fields}
        return RawBSONDocument(bson.encode(document).replace(b"????", b"\xff\xfe\xf0\x80"))

    db["settings"].insert_one(broken(key="odd", value={"a????": ["b????"]}))
    db["todos"].insert_one(broken(title="c????", done=True))
    assert "\ufffd" in answer(owner.get("/api/settings/odd"))["value"].popitem()[1][0]
    (todo,) = answer(owner.get("/api/to-do-list"))["items"]
    assert todo["title"].startswith("c\ufffd")
    assert todo["done"] is True


def test_ids_that_no_route_can_name_are_left_out(owner: User, db: MongoDatabase) -> None:
    db["todos"].insert_many([{"_id": _id, "title": "x"} for _id in ("x", 5, {"a": 1}, FAR, None)])
    added = answer(owner.post("/api/to-do-list", {"title": "sound"}))
    assert answer(owner.get("/api/to-do-list"))["items"] == [added]


def test_what_belongs_to_a_document_may_be_odd_as_well(owner: User, db: MongoDatabase) -> None:
    items = [{"name": "Anvil", "quantity": 1, "price": "1.50"}]
    order = answer(owner.post("/api/orders", {"items": items}))
    post = answer(owner.post("/api/posts", {"title": "x", "content": "x"}))
    for position, value in enumerate(ODD.values(), 10):
        of_order = {"orderId": ObjectId(order["id"]), "position": position}
        db["orderItems"].insert_one({**of_order, "name": value, "quantity": value, "price": value})
        db["comments"].insert_one(
            {
                "postId": ObjectId(post["id"]),
                "content": value,
                "createdAt": value,
                "authorId": value,
            }
        )
    db["orderItems"].insert_one({"orderId": [ObjectId(order["id"])], "position": 1})
    shown = answer(owner.get(f"/api/orders/{order['id']}"))
    assert shown["items"][0] == order["items"][0]
    assert len(shown["items"]) == 1 + len(ODD)
    (listed,) = answer(owner.get("/api/orders"))["items"]
    assert listed == shown
    shown = answer(owner.get(f"/api/posts/{post['id']}?include=comments"))
    assert len(shown["comments"]["items"]) == 10
    comments = walk(owner, f"/api/posts/{post['id']}/comments", 3)
    assert len({comment["id"] for comment in comments}) >= len(ODD) - 2
    for comment in comments:
        path = f"/api/posts/{post['id']}/comments/{comment['id']}"
        assert answer(owner.get(path)) == comment
        assert owner.delete(path).status_code == 200


def test_odd_documents_can_be_changed_and_deleted(owner: User, db: MongoDatabase) -> None:
    odd = {"title": 5, "done": "?", "dueAt": FAR, "authorId": FAR, "createdAt": FAR}
    for noun, path in (("todos", "/api/to-do-list"), ("posts", "/api/posts")):
        _id = db[noun].insert_one(dict(odd)).inserted_id
        changed = answer(owner.patch(f"{path}/{_id}", {"title": "Now with a title"}))
        assert changed["title"] == "Now with a title"
        assert changed["createdAt"] is None
        assert answer(owner.delete(f"{path}/{_id}"))["title"] == "Now with a title"


@pytest.mark.parametrize("field", ["role", "status", "tokenVersion", "email", "createdAt"])
@pytest.mark.parametrize("kind", [*ODD, "nothing"])
def test_odd_users_are_refused_and_break_nothing(
    shared: World, owner: User, db: MongoDatabase, field: str, kind: str
) -> None:
    now = datetime.now(UTC)
    user = {"_id": ObjectId(), **NOUNS["users"][1], "createdAt": now, "updatedAt": now}
    user[field] = ODD.get(kind, ...)
    if kind == "nothing":
        del user[field]
    if (field, kind) in SOUND or (field == "email" and kind in ("a text", "an empty text", "code")):
        return  # nothing odd about that
    db["users"].insert_one(user)
    path = f"/api/users/{user['_id']}"
    assert owner.get(path).status_code == 200
    refusal(owner.patch(path, {"role": "admin"}), 409, "conflict")
    refusal(owner.delete(path), 409, "conflict")
    refusal(owner.post(f"{path}/invitation"), 409, "conflict")


@pytest.mark.parametrize("kind", ODD)
def test_the_audit_log_and_the_tenants_are_listed_whatever_is_there(
    shared: World, kind: str
) -> None:
    value = ODD[kind]
    audit, tenants = shared.admin_db["audit"], shared.admin_db["tenants"]
    # An index over both would refuse two arrays.
    action = "tenant.add" if isinstance(value, list) else value
    entry = {"at": value, "action": action, "requestId": value, "details": {"x": value}}
    tenant = {"name": f"Odd {kind}", "createdAt": value, "modules": value, "userLimit": value}
    entry_id = audit.insert_one(entry).inserted_id
    tenant_id = tenants.insert_one(tenant).inserted_id
    try:
        listed = [item["id"] for item in walk(shared.operator, "/api/audit", 5)]
        assert listed.count(str(entry_id)) == 1
        listed = [item["id"] for item in walk(shared.operator, "/api/tenants", 1)]
        assert listed.count(str(tenant_id)) == 1
        assert shared.operator.get(f"/api/tenants/{tenant_id}").status_code == 200
    finally:
        audit.delete_one({"_id": entry_id})
        tenants.delete_one({"_id": tenant_id})
