"""Model: a document class bound to a database."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.errors import AlreadyExists, ValidationFailed
from multitenant.repositories.model import Model, MongoDatabase, utc_now
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.tenant.todos import TodoDocument
from multitenant.schemas.tenant.users import UserDocument


@pytest.fixture
def db(mongo: MongoClient[dict[str, Any]]) -> Iterator[MongoDatabase]:
    """A database of its own: mongomock decodes in one way only."""
    name = f"model{ObjectId()}"
    yield mongo[name]
    mongo.drop_database(name)


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


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_pages_follow_the_time_whatever_the_ids_are(
    db: MongoDatabase, limit: int, newest_first: bool
) -> None:
    """Ids of different processes are in no order within a second; several items may even have
    been made in the same millisecond."""
    model = Model(db, TodoDocument)
    now = utc_now()
    ids = [ObjectId(f"{number:024x}") for number in (9, 3, 5, 7, 1, 8)]
    for number, made_after in ((3, 3), (0, 0), (4, 4), (2, 1), (1, 1), (5, -90_000)):
        document = {"_id": ids[number], "title": "x", "done": number % 2 == 0}
        moment = now + timedelta(milliseconds=made_after)
        db["todos"].insert_one({**document, "createdAt": moment, "updatedAt": moment})
    expected = [ids[number] for number in (5, 0, 1, 2, 3, 4)]

    seen: list[ObjectId] = []
    cursor = None
    while cursor or not seen:
        query = PageQuery.model_validate({"limit": limit, "cursor": cursor})
        page = model.find_page({}, query, newest_first=newest_first)
        seen += [item["_id"] for item in page.items]
        cursor = page.next_cursor

    assert seen == (expected[::-1] if newest_first else expected)


def test_two_databases_of_one_client_do_not_mix(
    db: MongoDatabase, mongo: MongoClient[dict[str, Any]]
) -> None:
    acme, globex = Model(db, TodoDocument), Model(mongo[f"{db.name}b"], TodoDocument)
    acme.insert(title="x", created_at=utc_now(), updated_at=utc_now())
    assert globex.find_page({}, PageQuery()).items == []
