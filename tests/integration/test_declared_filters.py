"""Indexes whose options hold values that MongoDB reports otherwise than they were declared are
found to be as declared."""

from datetime import UTC, datetime
from typing import Any

import pytest
from bson import DatetimeMS, Decimal128, Int64, ObjectId

from multitenant.repositories.indexes import IndexDrift, find_drift
from multitenant.repositories.model import Model, MongoDatabase
from tests.integration.test_declared_indexes import Page, databases, declare

__all__ = ["databases"]

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_901)
VALUES: dict[str, Any] = {
    "a time without a zone": {"$gt": NOW},
    "a time with microseconds": {"$gt": NOW.replace(tzinfo=UTC)},
    "a far time": {"$lt": DatetimeMS(2**62)},
    "a number": {"$in": [1, 1.0, Int64(1), Decimal128("1.0")]},
    "a list": {"$in": ["a", None, ObjectId("0" * 24)]},
    "nested": {"a": {"b": NOW}},
    "bytes": b"raw",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "several conditions": {
        "fields": [("a", 1)],
        "partialFilterExpression": {"b": {"$gt": 1, "$lt": NOW}, "a": {"$type": "string"}},
    },
    "alternatives": {
        "fields": [("a", 1)],
        "partialFilterExpression": {"$or": [{"b": NOW}, {"$and": [{"c": {"$exists": True}}]}]},
    },
    "nested projection": {"fields": [("$**", 1)], "wildcardProjection": {"a": {"b": 1}, "c": 1}},
    "weights of everything": {"fields": [("$**", "text")], "weights": {"$**": 2, "a": 7}},
    "weights that are no integers": {"fields": [("a", "text")], "weights": {"a": 3.0}},
    "an abbreviated language": {"fields": [("a", "text")], "default_language": "de"},
    "no language": {"fields": [("a", "text")], "default_language": "none"},
    "age that is no integer": {"fields": [("at", 1)], "expireAfterSeconds": 60.0},
    "collation with every option": {
        "fields": [("a", 1)],
        "collation": {
            "locale": "de@collation=phonebook",
            "strength": 2,
            "caseLevel": True,
            "caseFirst": "upper",
            "numericOrdering": True,
            "alternate": "shifted",
            "maxVariable": "space",
            "backwards": True,
        },
    },
    "engine": {
        "fields": [("a", 1)],
        "storageEngine": {"wiredTiger": {"configString": "prefix_compression=false"}},
    },
    "bounds that are integers": {"fields": [("at", "2d")], "min": -180, "max": 180},
    "geo and text": {"fields": [("a", -1), ("b", "text")], "textIndexVersion": 3},
    "part of a hashed key": {"fields": [("a.b", "hashed"), ("c", -1)]},
}


@pytest.fixture
def db(databases: dict[str, MongoDatabase]) -> MongoDatabase:
    """A tenant's database, as the platform reads it, without the collection."""
    databases["acme"]["pages"].drop()
    return databases["acme"]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_in_a_condition_is_as_declared(
    db: MongoDatabase,
    monkeypatch: pytest.MonkeyPatch,
    value: str,
) -> None:
    declare(monkeypatch, {"fields": [("a", 1)], "partialFilterExpression": {"b": VALUES[value]}})
    Model(db, Page).ensure_indexes()
    assert find_drift(db, [Page]) == []
    other = {"b": {"$gt": datetime(2026, 1, 2, tzinfo=UTC)}}
    declare(monkeypatch, {"fields": [("a", 1)], "partialFilterExpression": other})
    assert find_drift(db, [Page]) == [IndexDrift("pages", "a_1", "different")]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_are_as_declared(
    db: MongoDatabase,
    monkeypatch: pytest.MonkeyPatch,
    options: str,
) -> None:
    declare(monkeypatch, OPTIONS[options])
    Model(db, Page).ensure_indexes()
    assert find_drift(db, [Page]) == []
