"""Indexes of every kind are compared with what MongoDB makes of them, and repaired once."""

from typing import Any, ClassVar

import pytest
from mongoengine import Document

from multitenant.repositories.indexes import IndexDrift, find_drift, repair_drift
from multitenant.repositories.model import Model, MongoDatabase
from tests.conftest import Client
from tests.support import World

FIELDS = {"title": "text", "body": "text"}
KINDS: dict[str, dict[str, Any]] = {
    "plain": {"fields": [("a", 1), ("b", -1)]},
    "unique": {"fields": [("a", 1)], "unique": True},
    "not unique, and says so": {"fields": [("a", 1)], "unique": False, "sparse": False},
    "sparse": {"fields": [("a", 1)], "sparse": True},
    "hidden": {"fields": [("a", 1)], "hidden": True},
    "not hidden, and says so": {"fields": [("a", 1)], "hidden": False},
    "in the background": {"fields": [("a", 1)], "background": True},
    "of a version": {"fields": [("a", 1)], "v": 2},
    "TTL": {"fields": [("at", 1)], "expireAfterSeconds": 3600},
    "TTL of nothing": {"fields": [("at", 1)], "expireAfterSeconds": 0},
    "partial": {
        "fields": [("a", 1)],
        "partialFilterExpression": {"b": {"$exists": True}, "$and": [{"c": {"$gt": 5}}]},
    },
    "partial TTL": {
        "fields": [("at", 1)],
        "expireAfterSeconds": 60,
        "partialFilterExpression": {"done": True},
    },
    "collation": {"fields": [("a", 1)], "collation": {"locale": "de", "strength": 2}},
    "collation of its locale": {"fields": [("a", 1)], "collation": {"locale": "fr_CA"}},
    "simple collation": {"fields": [("a", 1)], "collation": {"locale": "simple"}},
    "hashed": {"fields": [("a", "hashed")]},
    "compound hashed": {"fields": [("a", 1), ("b", "hashed")]},
    "2dsphere": {"fields": [("at", "2dsphere")]},
    "compound 2dsphere": {"fields": [("a", 1), ("at", "2dsphere")]},
    "2dsphere of a version": {"fields": [("at", "2dsphere")], "2dsphereIndexVersion": 2},
    "2d": {"fields": [("at", "2d")]},
    "2d with bounds": {"fields": [("at", "2d")], "min": -10, "max": 10, "bits": 20},
    "wildcard": {"fields": [("$**", 1)]},
    "wildcard of a field": {"fields": [("a.$**", 1)]},
    "wildcard with projection": {
        "fields": [("$**", 1)],
        "wildcardProjection": {"a": 1, "b.c": 1},
    },
    "wildcard without fields": {
        "fields": [("$**", 1)],
        "wildcardProjection": {"a": False, "_id": True},
    },
    "text": {"fields": [("title", "text")]},
    "text of several fields": {"fields": [*FIELDS.items()]},
    "text with weights": {"fields": [*FIELDS.items()], "weights": {"title": 10}},
    "text with weights alone": {
        "fields": [("title", "text")],
        "weights": {"title": 5, "tags": 3},
    },
    "text with a language": {
        "fields": [*FIELDS.items()],
        "default_language": "german",
        "language_override": "lang",
    },
    "text of everything": {"fields": [("$**", "text")]},
    "compound text": {"fields": [("a", 1), *FIELDS.items(), ("b", 1)]},
    "text of a version": {"fields": [("title", "text")], "textIndexVersion": 2},
    "partial text": {
        "fields": [("title", "text")],
        "partialFilterExpression": {"a": {"$exists": True}},
    },
}
CHANGED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "weights": (
        {"fields": [*FIELDS.items()], "weights": {"title": 10}, "name": "text"},
        {"fields": [*FIELDS.items()], "weights": {"title": 9}, "name": "text"},
    ),
    "fields of a text index": (
        {"fields": [("title", "text")], "name": "text"},
        {"fields": [*FIELDS.items()], "name": "text"},
    ),
    "language": (
        {"fields": [("title", "text")], "default_language": "german"},
        {"fields": [("title", "text")]},
    ),
    "keys beside the text": (
        {"fields": [("a", 1), ("title", "text")], "name": "text"},
        {"fields": [("title", "text"), ("a", 1)], "name": "text"},
    ),
    "projection": (
        {"fields": [("$**", 1)], "wildcardProjection": {"a": 1}},
        {"fields": [("$**", 1)], "wildcardProjection": {"b": 1}},
    ),
    "hidden": ({"fields": [("a", 1)]}, {"fields": [("a", 1)], "hidden": True}),
    "age": (
        {"fields": [("at", 1)], "expireAfterSeconds": 60},
        {"fields": [("at", 1)], "expireAfterSeconds": 61},
    ),
    "strength that is the default": (
        {"fields": [("a", 1)], "collation": {"locale": "de"}},
        {"fields": [("a", 1)], "collation": {"locale": "de", "strength": 1}},
    ),
    "no collation": (
        {"fields": [("a", 1)]},
        {"fields": [("a", 1)], "collation": {"locale": "de"}},
    ),
    "bounds": (
        {"fields": [("at", "2d")]},
        {"fields": [("at", "2d")], "min": -10, "max": 10},
    ),
    "version": (
        {"fields": [("at", "2dsphere")], "2dsphereIndexVersion": 3},
        {"fields": [("at", "2dsphere")], "2dsphereIndexVersion": 2},
    ),
    "filter": (
        {"fields": [("a", 1)], "partialFilterExpression": {"b": 1}},
        {"fields": [("a", 1)], "partialFilterExpression": {"b": 2}},
    ),
    "name": ({"fields": [("a", 1)], "name": "declared"}, {"fields": [("a", 1)], "name": "other"}),
    "name of a text index": (
        {"fields": [("title", "text")], "name": "declared"},
        {"fields": [("title", "text")], "name": "other"},
    ),
}
"""What is declared, and what is there instead."""


class Page(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """A collection whose indexes each test declares."""

    meta: ClassVar = {"collection": "pages", "auto_create_index": False}


@pytest.fixture(scope="module")
def databases(shared: World) -> dict[str, MongoDatabase]:
    """A tenant's database."""
    return {"acme": shared.db_of(shared.tenant("Acme").tenant_id)}


@pytest.fixture
def db(databases: dict[str, MongoDatabase], mongo: Client) -> MongoDatabase:
    """A tenant's database, without the collection."""
    db = mongo[databases["acme"].name]
    db["pages"].drop()
    return db


def declare(monkeypatch: pytest.MonkeyPatch, *specs: dict[str, Any]) -> None:
    monkeypatch.setitem(Page._meta, "index_specs", [dict(spec) for spec in specs])


def made(db: MongoDatabase) -> list[Any]:
    """What MongoDB says of the indexes."""
    return sorted(map(str, db["pages"].list_indexes()))


@pytest.mark.parametrize("kind", KINDS)
def test_an_index_is_as_declared_once_it_was_made(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    declare(monkeypatch, KINDS[kind])
    assert [one.kind for one in find_drift(db, [Page])] == ["missing"]
    Model(db, Page).ensure_indexes()
    assert find_drift(db, [Page]) == []


@pytest.mark.parametrize("what", CHANGED)
def test_an_index_that_is_not_as_declared_is_found_and_repaired_once(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    declared, present = CHANGED[what]
    declare(monkeypatch, present)
    Model(db, Page).ensure_indexes()
    declare(monkeypatch, declared)
    drift = find_drift(db, [Page])
    assert "different" in {one.kind for one in drift}
    repair_drift(db, [Page], drift)
    assert find_drift(db, [Page]) == []
    after = made(db)
    repair_drift(db, [Page], [])
    assert made(db) == after


def test_an_index_takes_the_collation_of_its_collection(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    db.create_collection("pages", collation={"locale": "de", "strength": 1})
    declare(monkeypatch, {"fields": [("a", 1)]})
    Model(db, Page).ensure_indexes()
    assert find_drift(db, [Page]) == []
    db["pages"].drop_index("a_1")
    db["pages"].create_index("a", collation={"locale": "simple"})
    assert find_drift(db, [Page]) == [IndexDrift("pages", "a_1", "different")]


def test_the_index_of_a_clustered_collection_is_its_own(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    clustered = {"key": {"_id": 1}, "unique": True, "name": "by id"}
    db.create_collection("pages", clusteredIndex=clustered)
    declare(monkeypatch, {"fields": [("a", 1)]})
    Model(db, Page).ensure_indexes()
    assert find_drift(db, [Page]) == []


def test_what_somebody_else_has_made_stays(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(monkeypatch, {"fields": [("a", 1)]})
    Model(db, Page).ensure_indexes()
    db["pages"].create_index([("b", "text")], name="theirs")
    drift = find_drift(db, [Page])
    assert drift == [IndexDrift("pages", "theirs", "unknown")]
    repair_drift(db, [Page], drift)
    assert find_drift(db, [Page]) == drift
