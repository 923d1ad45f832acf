"""Numbered migrations, on a real server."""

import os
import threading
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from mongoengine import Document
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.tenant.posts import PostDocument
from multitenant.schemas.tenant.settings import SettingDocument
from multitenant.schemas.tenant.todos import TodoDocument
from multitenant.tenancy.migrations import (
    TENANT_MIGRATIONS,
    TENANT_VERSION,
    Migration,
    migrate,
    newest_applied,
    pending_migrations,
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


def migration(number: int, done: list[int], *, fails: bool = False) -> Migration:
    """One that notes in `done` that it ran."""
    module: Any = ModuleType(f"m{number:04}_test")

    def up(db: MongoDatabase) -> None:
        if fails:
            raise RuntimeError("broken")
        done.append(number)

    module.up = up
    return Migration(number, module)


def creating(number: int, *documents: type[Document]) -> Migration:
    """One that only makes their collections."""
    module: Any = ModuleType(f"m{number:04}_test")
    module.CREATES = documents
    return Migration(number, module)


def test_what_is_pending_runs_once_and_in_order(db: MongoDatabase) -> None:
    done: list[int] = []
    first, second, third = (migration(number, done) for number in (1, 2, 3))

    assert migrate(db, (first,)) == 1
    assert migrate(db, (first, second, third)) == 3
    assert migrate(db, (first, second, third)) == 3

    assert done == [1, 2, 3]
    assert pending_migrations(db, (first, second, third)) == ()
    recorded = db["migrations"].find_one({"_id": 1})
    assert recorded
    assert recorded["name"] == "m0001_test"


def test_one_that_fails_stays_pending_with_all_behind_it(db: MongoDatabase) -> None:
    done: list[int] = []
    plan = (migration(1, done), migration(2, done, fails=True), migration(3, done))
    with pytest.raises(RuntimeError):
        migrate(db, plan)
    assert done == [1]
    assert [pending.number for pending in pending_migrations(db, plan)] == [2, 3]


def test_collections_are_made_at_once_but_not_before_what_stands_ahead_of_them(
    db: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    together = threading.Barrier(2, timeout=10)
    ensure_indexes = Model.ensure_indexes

    def with_the_other(model: Model) -> None:
        if model.collection.name != "settings":
            together.wait()  # breaks, where one is made after the other
        ensure_indexes(model)

    monkeypatch.setattr(Model, "ensure_indexes", with_the_other)
    seen: list[set[str]] = []
    between = migration(3, [])
    between.module.up = lambda db: seen.append(set(db.list_collection_names()))  # type: ignore[attr-defined]
    plan = (
        creating(1, TodoDocument),
        creating(2, PostDocument),
        between,
        creating(4, SettingDocument),
    )
    assert migrate(db, plan) == 4
    assert seen == [{"todos", "posts", "migrations"}]
    assert set(db.list_collection_names()) == {"todos", "posts", "settings", "migrations"}
    assert [it["_id"] for it in db["migrations"].find().sort(["appliedAt", "_id"])] == [1, 2, 3, 4]


def test_where_one_collection_cannot_be_made_none_is_recorded_and_all_may_be_made_again(
    db: MongoDatabase,
) -> None:
    db.command("create", "posts", viewOn="elsewhere")  # has no indexes
    plan = (creating(1, TodoDocument), creating(2, PostDocument), creating(3, SettingDocument))
    with pytest.raises(OperationFailure, match="view"):
        migrate(db, plan)
    assert pending_migrations(db, plan) == plan
    db.drop_collection("posts")
    assert migrate(db, plan) == 3
    assert pending_migrations(db, plan) == ()


def test_every_migration_of_tenants_comes_down_to_where_it_began(db: MongoDatabase) -> None:
    first, *others = TENANT_MIGRATIONS
    first.up(db)
    for migration in others:
        before = schema(db)
        migration.up(db)
        after = schema(db)
        assert after != before, migration.name
        migration.down(db)
        assert schema(db) == before, migration.name
        for _ in range(2):  # it may run again after a crash
            migration.up(db)
        assert schema(db) == after, migration.name


def test_a_migration_comes_down_from_a_collection_in_use(db: MongoDatabase) -> None:
    for migration in TENANT_MIGRATIONS:
        migration.up(db)
    for name in db.list_collection_names():
        db[name].insert_one({})
    for migration in reversed(TENANT_MIGRATIONS[1:]):
        migration.down(db)
    assert set(db.list_collection_names()) == {"users", "todos"}


def test_every_list_has_an_index_by_time_and_id(db: MongoDatabase) -> None:
    for migration in TENANT_MIGRATIONS:
        migration.up(db)
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
    down = Migration.down

    def killed(migration: Migration, db: MongoDatabase) -> None:
        down(migration, db)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Migration, "down", killed)
        with pytest.raises(KeyboardInterrupt):
            roll_back(db, TENANT_MIGRATIONS, TENANT_VERSION - 1)
    assert newest_applied(db) == TENANT_VERSION - 1
    if then == "is undone again":
        assert roll_back(db, TENANT_MIGRATIONS, TENANT_VERSION - 1) == TENANT_VERSION - 1
        assert db["migrations"].count_documents({}) == TENANT_VERSION - 1
    migrate(db, TENANT_MIGRATIONS)
    assert schema(db) == before
    assert newest_applied(db) == TENANT_VERSION
