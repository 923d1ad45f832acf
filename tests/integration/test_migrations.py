"""The migrations of tenants, on a real server."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.migrations import (
    TENANT_MIGRATIONS,
    TENANT_VERSION,
    migrate,
    newest_applied,
    roll_back,
)


@pytest.fixture
def db(mongo: MongoClient[dict[str, Any]]) -> Iterator[MongoDatabase]:
    """A database of nobody's."""
    db = mongo[f"migrated{os.getpid()}"]
    yield db
    mongo.drop_database(db)


def schema(db: MongoDatabase) -> dict[str, Any]:
    """Its collections and their indexes."""
    return {name: db[name].index_information() for name in db.list_collection_names()}


def test_every_migration_of_tenants_comes_down_to_where_it_began(db: MongoDatabase) -> None:
    first, *others = TENANT_MIGRATIONS
    first.module.up(db)
    for migration in others:
        before = schema(db)
        migration.module.up(db)
        after = schema(db)
        assert after != before, migration.name
        migration.module.down(db)
        assert schema(db) == before, migration.name
        for _ in range(2):  # it may run again after a crash
            migration.module.up(db)
        assert schema(db) == after, migration.name


def test_a_migration_comes_down_from_a_collection_in_use(db: MongoDatabase) -> None:
    for migration in TENANT_MIGRATIONS:
        migration.module.up(db)
    for name in db.list_collection_names():
        db[name].insert_one({})
    for migration in reversed(TENANT_MIGRATIONS[1:]):
        migration.module.down(db)
    assert set(db.list_collection_names()) == {"users", "todos"}


def test_every_list_has_an_index_by_time_and_id(db: MongoDatabase) -> None:
    for migration in TENANT_MIGRATIONS:
        migration.module.up(db)
    for name, indexes in schema(db).items():
        if name in ("users", "orderItems"):
            continue  # not listed by time
        keys = [tuple(field for field, _ in index["key"]) for index in indexes.values()]
        assert any(key[-2:] == ("createdAt", "_id") for key in keys), name


@pytest.mark.parametrize("then", ["is applied again", "is undone again"])
def test_a_migration_that_was_half_undone_counts_as_not_applied(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch, then: str
) -> None:
    migrate(db, TENANT_MIGRATIONS)
    before = schema(db)
    newest = TENANT_MIGRATIONS[-1].module
    down: Callable[[MongoDatabase], None] = newest.down

    def killed(db: MongoDatabase) -> None:
        down(db)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(newest, "down", killed)
        with pytest.raises(KeyboardInterrupt):
            roll_back(db, TENANT_MIGRATIONS, TENANT_VERSION - 1)
    assert newest_applied(db) == TENANT_VERSION - 1
    if then == "is undone again":
        assert roll_back(db, TENANT_MIGRATIONS, TENANT_VERSION - 1) == TENANT_VERSION - 1
        assert db["migrations"].count_documents({}) == TENANT_VERSION - 1
    migrate(db, TENANT_MIGRATIONS)
    assert schema(db) == before
    assert newest_applied(db) == TENANT_VERSION
