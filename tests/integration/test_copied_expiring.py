"""Collections from which MongoDB deletes documents by itself are copied and compared like others:
what has expired may be missing in the copy, and nothing else may differ."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bson import Int64, ObjectId

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.contents.raw_documents import id_of, raw_collection
from tests.conftest import Client
from tests.integration.backups import back_up
from tests.integration.test_copies import clone, restore_as_new
from tests.integration.test_move import database, move, nothing_is_left
from tests.support import User, World

MOVING: Any = import_module("multitenant.tenancy.operations.moving")
AGE = timedelta(hours=2)
Change = Callable[[MongoDatabase], object]


def fill(db: MongoDatabase) -> None:
    """Collections whose documents expire, with some that have, and some that have not."""
    now = utc_now()
    for name in ("sessions", "log", "measured"):
        db.drop_collection(name)
    db["sessions"].create_index(
        "at", expireAfterSeconds=3600, partialFilterExpression={"kept": False}
    )
    db["sessions"].insert_many(
        [
            {"_id": "expired", "at": now - AGE, "kept": False},
            {"_id": "kept", "at": now - AGE, "kept": True},
            {"_id": "fresh", "at": now, "kept": False},
        ]
    )
    clustered = {"key": {"_id": 1}, "unique": True}
    db.create_collection("log", clusteredIndex=clustered, expireAfterSeconds=3600)
    db["log"].insert_many([{"_id": now - AGE}, {"_id": now}])
    series = {"timeField": "at"}
    db.create_collection("measured", timeseries=series, expireAfterSeconds=3600)
    db["measured"].insert_many([{"at": now - 2 * AGE}, {"at": now}])


@pytest.fixture
def owner(world: World, blue: Client) -> User:
    """The owner of a tenant that can be moved to `blue`, with documents that expire."""
    owner = world.tenant("Acme", cluster="default")
    fill(world.db_of(owner.tenant_id))
    return owner


def interfere(monkeypatch: pytest.MonkeyPatch, source: Change, target: Change) -> None:
    """Let this happen to both databases just before they are compared for the last time."""
    real = MOVING.ensure_same

    def ensure_same(here: MongoDatabase, there: MongoDatabase, documents: Any) -> None:
        for name in ("sessions", "log", "system.buckets.measured"):
            known = documents.setdefault(name, {})
            known |= {one: one for one in ids(here, name)}
        source(here)
        target(there)
        real(here, there, documents)

    monkeypatch.setattr(MOVING, "ensure_same", ensure_same)


def ids(db: MongoDatabase, name: str) -> list[bytes]:
    return [id_of(one) for one in raw_collection(db, name).find()]


def expire(db: MongoDatabase) -> None:
    """What MongoDB does once a minute."""
    db["sessions"].delete_one({"_id": "expired"})
    db["log"].delete_many({"_id": {"$lt": utc_now() - timedelta(hours=1)}})
    limit = ObjectId.from_datetime(utc_now() - timedelta(hours=3))
    assert db["system.buckets.measured"].delete_many({"_id": {"$lt": limit}}).deleted_count == 1


def nothing(_: MongoDatabase) -> None:
    pass


def test_what_expires_before_both_are_compared_makes_no_difference(
    world: World, owner: User, blue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for to, here, there in (
        ("blue", expire, nothing),
        ("default", nothing, expire),
        ("blue", expire, expire),
    ):
        fill(database(world, owner, blue))
        with monkeypatch.context() as patched:
            interfere(patched, here, there)
            assert move(world, owner, to).late == 0
        left = database(world, owner, blue)["sessions"].count_documents({})
        assert left == (3 if there is nothing else 2)


def lose(*_ids: str) -> Change:
    return lambda db: db["sessions"].delete_many({"_id": {"$in": list(_ids)}})


def change(_id: Any, name: str = "sessions") -> Change:
    return lambda db: db[name].update_one({"_id": _id}, {"$set": {"x": 1}})


SPOILT: dict[str, Change] = {
    "kept is lost": lose("kept"),
    "fresh is lost": lose("fresh"),
    "fresh": change("fresh"),
    "expired": change("expired"),
    "clustered": lambda db: db["log"].delete_many({}),
    "measurements": lambda db: db["system.buckets.measured"].delete_many({}),
}


@pytest.mark.slow
def test_anything_else_that_differs_ends_the_move(
    world: World, owner: User, blue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for what, spoil in SPOILT.items():
        with monkeypatch.context() as patched:
            interfere(patched, nothing, spoil)
            with pytest.raises(BackupError, match="not the same in the copy"):
                move(world, owner)
        assert world.record(owner.tenant_id)["cluster"] == "default", what
    nothing_is_left(world, blue, owner)


def test_what_the_copy_lacks_from_the_beginning_is_found(
    world: World, owner: User, blue: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collections with such an index were not compared at all."""
    real = MOVING.compare

    def compare(source: MongoDatabase, target: MongoDatabase, *args: Any, **options: Any) -> int:
        change("fresh")(target)
        return int(real(source, target, *args, **options))

    monkeypatch.setattr(MOVING, "compare", compare)
    with pytest.raises(BackupError, match="'sessions' are not the same"):
        move(world, owner)


def test_what_expires_while_it_is_copied_spoils_no_copy(
    world: World, owner: User, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without an index a clustered collection lets its documents expire while it is filled."""
    copying: Any = import_module("multitenant.tenancy.contents.copying")
    real = copying.put_zero_timestamps_back

    def put_back(collection: Any, *args: Any, **options: Any) -> Any:
        if collection.name == "log":
            collection.delete_many({"_id": {"$lt": utc_now() - timedelta(hours=1)}})
        return real(collection, *args, **options)

    monkeypatch.setattr(copying, "put_zero_timestamps_back", put_back)
    directory = back_up(world, owner, tmp_path)
    for made in (
        clone(world, owner, name="Clone", cluster="default"),
        restore_as_new(world, directory, name="New", cluster="default"),
    ):
        assert world.db_of(str(made.tenant_id))["log"].count_documents({}) == 1


def test_any_age_is_compared(world: World, owner: User, blue: Client) -> None:
    db = world.db_of(owner.tenant_id)
    ages: list[Any] = [0, 2**31 - 1, Int64(5)]
    for number, age in enumerate(ages):
        db[f"odd{number}"].create_index("at", expireAfterSeconds=age)
        db[f"odd{number}"].insert_many([{"at": "no time"}, {"at": None}, {"at": []}, {}])
    moved = move(world, owner)
    assert (moved.late, moved.verified) == (0, moved.documents)
    for number in range(len(ages)):
        assert database(world, owner, blue)[f"odd{number}"].count_documents({}) == 4
