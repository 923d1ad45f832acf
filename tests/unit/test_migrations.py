"""Numbered migrations."""

from types import ModuleType
from typing import Any

import mongomock
import pytest

from multitenant.tenancy.migrations import (
    ADMIN_MIGRATIONS,
    TENANT_MIGRATIONS,
    Migration,
    migrate,
    pending_migrations,
)


def migration(number: int, done: list[int], *, fails: bool = False) -> Migration:
    module: Any = ModuleType(f"m{number:04}_test")

    def up(db: Any) -> None:
        if fails:
            raise RuntimeError("broken")
        done.append(number)

    module.up = up
    return Migration(number, module)


def test_what_is_pending_runs_once_and_in_order() -> None:
    db: Any = mongomock.MongoClient()["tenant"]
    done: list[int] = []
    first, second, third = (migration(number, done) for number in (1, 2, 3))

    assert migrate(db, (first,)) == 1
    assert migrate(db, (first, second, third)) == 3
    assert migrate(db, (first, second, third)) == 3

    assert done == [1, 2, 3]
    assert pending_migrations(db, (first, second, third)) == ()
    assert db["migrations"].find_one({"_id": 1})["name"] == "m0001_test"


def test_one_that_fails_stays_pending_with_all_behind_it() -> None:
    db: Any = mongomock.MongoClient()["tenant"]
    done: list[int] = []
    plan = (migration(1, done), migration(2, done, fails=True), migration(3, done))
    with pytest.raises(RuntimeError):
        migrate(db, plan)
    assert done == [1]
    assert [pending.number for pending in pending_migrations(db, plan)] == [2, 3]


@pytest.mark.parametrize("migrations", [ADMIN_MIGRATIONS, TENANT_MIGRATIONS])
def test_every_migration_of_ours_goes_up_and_down(migrations: tuple[Migration, ...]) -> None:
    for ours in migrations:
        assert callable(ours.module.up)
        assert callable(ours.module.down)
