"""Model: a document class bound to a database. mongomock will do: no transaction is involved."""

from typing import Any

import mongomock
import pytest
from bson import ObjectId

from multitenant.errors import AlreadyExists, ValidationFailed
from multitenant.repositories.model import Model, MongoDatabase, utc_now
from multitenant.schemas.tenant.todos import TodoDocument
from multitenant.schemas.tenant.users import UserDocument


@pytest.fixture
def db() -> MongoDatabase:
    database: Any = mongomock.MongoClient(tz_aware=True)["tenant_acme"]
    return database  # type: ignore[no-any-return]  # it stands in for PyMongo's


def user(**changes: Any) -> dict[str, Any]:
    fields = {"email": "a@acme.example", "role": "owner", "status": "active", "token_version": 0}
    return {**fields, "created_at": utc_now(), "updated_at": utc_now(), **changes}


def test_a_document_is_stored_under_its_stored_names_and_answered_as_stored(
    db: MongoDatabase,
) -> None:
    stored = Model(db, UserDocument).insert(id=ObjectId(), **user())
    assert stored["tokenVersion"] == 0
    assert "token_version" not in stored
    assert "password" not in stored, "what is None is left out"
    assert db["users"].find_one() == stored


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"role": "root"}, "role"),
        ({"email": None}, "email"),
        ({"token_version": -1}, "tokenVersion"),
    ],
)
def test_what_the_schema_does_not_allow_is_neither_inserted_nor_updated(
    db: MongoDatabase, changes: dict[str, Any], field: str
) -> None:
    model = Model(db, UserDocument)
    with pytest.raises(ValidationFailed) as caught:
        model.insert(id=ObjectId(), **user(**changes))
    assert [error["field"] for error in caught.value.errors or []] == [field]

    stored = model.insert(id=ObjectId(), **user())
    with pytest.raises(ValidationFailed):
        model.update({"_id": stored["_id"]}, **changes)
    assert db["users"].find_one() == stored


def test_a_value_that_must_be_unique_is_refused_by_its_stored_name(db: MongoDatabase) -> None:
    model = Model(db, UserDocument)
    model.ensure_indexes()
    model.ensure_indexes()
    model.insert(id=ObjectId(), **user())
    with pytest.raises(AlreadyExists):
        model.insert(id=ObjectId(), **user())


def test_an_update_sets_removes_and_dates(db: MongoDatabase) -> None:
    model = Model(db, TodoDocument)
    now = utc_now()
    stored = model.insert(title="x", due_at=now, created_at=now, updated_at=now.replace(year=2000))
    changed = model.update({"_id": stored["_id"]}, title="y", due_at=None)
    assert changed is not None
    assert (changed["title"], changed["done"]) == ("y", False)
    assert "dueAt" not in changed
    assert changed["updatedAt"] >= now
    assert model.update({"_id": ObjectId()}, title="z") is None


def test_a_required_field_cannot_be_removed(db: MongoDatabase) -> None:
    model = Model(db, TodoDocument)
    stored = model.insert(title="x", created_at=utc_now(), updated_at=utc_now())
    with pytest.raises(ValidationFailed):
        model.update({"_id": stored["_id"]}, title=None)


def test_pages_follow_the_order_of_ids(db: MongoDatabase) -> None:
    model = Model(db, TodoDocument)
    ids = [
        model.insert(title=str(number), created_at=utc_now(), updated_at=utc_now())["_id"]
        for number in range(5)
    ]
    first = model.find_page({}, limit=2, after=None)
    second = model.find_page({"done": False}, limit=9, after=first[-1]["_id"])
    assert [item["_id"] for item in first + second] == ids


def test_two_databases_of_one_client_do_not_mix() -> None:
    client: Any = mongomock.MongoClient()
    acme, globex = Model(client["a"], TodoDocument), Model(client["b"], TodoDocument)
    acme.insert(title="x", created_at=utc_now(), updated_at=utc_now())
    assert globex.find_page({}, limit=9, after=None) == []
