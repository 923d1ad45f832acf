"""`multitenant backup`: one moment of a database, in mongodump's files."""

import gzip
import hashlib
import json
import os
import signal
import stat
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import json_util
from pymongo import MongoClient

from multitenant import create_app
from multitenant.errors import BackupError
from multitenant.extensions import platform_of
from multitenant.repositories.admin.tenants import find_tenant_by_name
from multitenant.tenancy.contents import snapshots
from multitenant.tenancy.contents.snapshots import open_snapshot
from multitenant.tenancy.operations.backup import Backup, _new_directory
from multitenant.tenancy.operations.stored_backup import StoredBackup
from tests.integration.backups import Multitenant, back_up, raw_contents, told
from tests.support import User, World

Client = MongoClient[dict[str, Any]]


def order(user: User, number: int) -> None:
    items = [{"name": f"item {number}.{i}", "quantity": 1, "price": "1.50"} for i in range(3)]
    assert user.post("/api/orders", {"items": items}).status_code == 201


def read(directory: Path, name: str, *, gzipped: bool = False) -> list[dict[str, Any]]:
    path = directory / f"{name}.bson{'.gz' if gzipped else ''}"
    data = gzip.decompress(path.read_bytes()) if gzipped else path.read_bytes()
    return bson.decode_all(data)


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_backup_holds_every_document_as_it_is_and_says_what_is_in_it(
    world: World, tmp_path: Path, gzipped: bool
) -> None:
    acme, globex = world.tenant("Acme", isolation="dedicated"), world.tenant("Globex")
    order(acme, 1)
    globex.post("/api/to-do-list", {"title": "globex only"})

    directory = back_up(world, acme, tmp_path / "b", gzipped=gzipped)

    assert directory == tmp_path / "b" / acme.tenant_id
    db = world.db_of(acme.tenant_id)
    ending = ".gz" if gzipped else ""
    manifest = json.loads((directory / "manifest.json").read_text())
    names = set(db.list_collection_names())
    assert {one["name"] for one in manifest["collections"]} == names
    assert {path.name for path in directory.iterdir()} == {
        "manifest.json",
        *(f"{name}.{kind}{ending}" for name in names for kind in ("bson", "metadata.json")),
    }
    for one in manifest["collections"]:
        path = directory / f"{one['name']}.bson{ending}"
        data = gzip.decompress(path.read_bytes()) if gzipped else path.read_bytes()
        assert data == b"".join(raw_contents(db)[one["name"]])
        assert one["documents"] == db[one["name"]].count_documents({})
        assert (one["bytes"], one["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    record = world.record(acme.tenant_id)
    assert manifest["tenant"]["id"] == acme.tenant_id
    assert manifest["dbName"] == record["dbName"]
    assert manifest["schemaVersion"] == record["schemaVersion"]
    assert manifest["mongodbVersion"] == world.admin_db.client.server_info()["version"]
    everything = b"".join(path.read_bytes() for path in directory.iterdir())
    assert b"globex" not in everything.lower()
    for secret in ("ciphertext", "credentials", "dbUri"):
        assert secret not in (directory / "manifest.json").read_text()


def test_nobody_else_may_read_it(world: World, tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        directory = back_up(world, world.tenant("Acme"), tmp_path / "new")
    finally:
        os.umask(previous)
    for path in (directory, directory.parent):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}


def test_metadata_is_as_mongodump_writes_it(world: World, tmp_path: Path) -> None:
    """Canonical Extended JSON: options, indexes, the collection's UUID and name."""
    owner = world.tenant("Acme")
    directory = back_up(world, owner, tmp_path)
    text = (directory / "users.metadata.json").read_text()
    metadata = json.loads(text)
    assert list(metadata) == ["indexes", "uuid", "collectionName", "type"]
    assert metadata["indexes"][0] == {
        "v": {"$numberInt": "2"},
        "key": {"_id": {"$numberInt": "1"}},
        "name": "_id_",
    }
    assert (metadata["collectionName"], metadata["type"]) == ("users", "collection")
    assert len(bytes.fromhex(metadata["uuid"])) == 16
    indexes = list(world.db_of(owner.tenant_id)["users"].list_indexes())
    assert json_util.loads(text)["indexes"] == [dict(index) for index in indexes]


def test_a_backup_under_writes_is_of_one_moment(world: World, tmp_path: Path) -> None:
    """Each order has its three items, which are written in one transaction."""
    owner = world.tenant("Acme")
    for number in range(5):
        order(owner, number)
    stop = threading.Event()

    def write() -> None:
        number = 5
        while not stop.is_set():
            order(owner, number)
            number += 1

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for number in range(4):
            directory = back_up(world, owner, tmp_path / str(number))
            time.sleep(0.05)
            orders = {document["_id"] for document in read(directory, "orders")}
            items = read(directory, "orderItems")
            assert len(items) == 3 * len(orders)
            assert {item["orderId"] for item in items} == orders
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert world.db_of(owner.tenant_id)["orders"].count_documents({}) > len(orders)


def test_the_moment_is_the_clusters(world: World, tmp_path: Path) -> None:
    """PyMongo keeps it in a field that is not documented; a change stream can begin there."""
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    with open_snapshot(db) as snapshot:
        db["todos"].insert_one({"title": "later"})
        moment = snapshot.taken_at
        todos = next(spec for spec in snapshot.specs if spec.name == "todos")
        assert list(snapshot.batches(todos)) == []
    with db.watch(start_at_operation_time=moment) as stream:
        changes = []
        while (change := stream.try_next()) is not None:
            changes.append(change["fullDocument"].get("title"))
    assert changes[-1] == "later"


class TestAChangingCatalogue:
    def test_a_collection_that_is_dropped_meanwhile_does_not_look_empty(self, world: World) -> None:
        db = world.db_of(world.tenant("Acme").tenant_id)
        db["gone"].insert_one({})
        with open_snapshot(db) as snapshot:
            db["gone"].drop()
            gone = next(spec for spec in snapshot.specs if spec.name == "gone")
            assert list(snapshot.batches(gone)) == []
            with pytest.raises(BackupError, match="dropped"):
                snapshot.ensure_whole()

    def test_a_backup_that_missed_one_is_none(self, world: World, tmp_path: Path) -> None:
        owner = world.tenant("Acme")
        db = world.db_of(owner.tenant_id)
        db["zebras"].insert_one({})
        platform = world.platform
        work = Backup(platform.connections, platform.cipher, tmp_path, gzipped=False, parallel=1)
        (done,) = work.run([world.record(owner.tenant_id)], lambda _: db["zebras"].drop())
        assert "dropped" in (done.error or "")
        assert list(tmp_path.iterdir()) == []

    def test_one_that_is_made_between_the_list_and_the_moment_is_in_it(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Listing it does not show the past, so it is listed before and after."""
        db = world.db_of(world.tenant("Acme").tenant_id)
        real, made = snapshots._fix_moment, list[Any]()

        def make_first(*args: Any) -> None:
            if not made:
                made.append(db["late"].insert_one({}))
            real(*args)

        monkeypatch.setattr(snapshots, "_fix_moment", make_first)
        with open_snapshot(db) as snapshot:
            late = next(spec for spec in snapshot.specs if spec.name == "late")
            assert len(list(snapshot.batches(late))) == 1


@pytest.fixture
def short_memory(mongo: Client) -> Iterator[None]:
    """A mongod that keeps no past."""
    name = "minSnapshotHistoryWindowInSeconds"
    before = mongo.admin.command({"getParameter": 1, name: 1})[name]
    mongo.admin.command({"setParameter": 1, name: 0})
    yield
    mongo.admin.command({"setParameter": 1, name: before})


@pytest.mark.usefixtures("short_memory")
def test_a_moment_that_mongodb_does_not_keep_is_told_with_what_to_do(
    world: World,
) -> None:
    db = world.db_of(world.tenant("Acme").tenant_id)

    def read_slowly() -> None:
        with open_snapshot(db) as snapshot:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                db["todos"].insert_one({"title": "time goes by"})
                list(snapshot.batches(snapshot.specs[-1]))
                time.sleep(0.1)

    with pytest.raises(BackupError, match="minSnapshotHistoryWindowInSeconds"):
        read_slowly()


class TestTheCommand:
    def test_all_tenants_are_backed_up_and_one_that_fails_does_not_end_the_others(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        ids = {name: world.tenant(name).tenant_id for name in ("Acme", "Globex", "Initech")}
        (tmp_path / "out" / ids["Globex"]).mkdir(parents=True)

        result = multitenant("backup", "--all", "--output", "out", "--json", code=1)

        errors = {one["name"]: one.get("error") for one in told(result)}
        assert set(errors) == {"operators", "Acme", "Globex", "Initech"}
        assert [name for name, error in errors.items() if error] == ["Globex"]
        assert "exists already" in errors["Globex"]
        for name in ("Acme", "Initech"):
            StoredBackup(tmp_path / "out" / ids[name]).verify(lambda _: None)
        assert not [path for path in (tmp_path / "out").iterdir() if path.name[0] == "."]
        entry = world.admin_db["audit"].find_one({"action": "tenants.backup"})
        assert entry is not None
        assert (entry["outcome"], entry["details"]) == ("failure", {"backedUp": 3, "failed": 1})

    def test_some_are_chosen_by_name(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        acme, _ = world.tenant("Acme"), world.tenant("Globex")
        result = multitenant("backup", "--tenant", "acme", "--gzip", "--output", "out")
        assert "Acme: " in result.output
        assert [path.name for path in (tmp_path / "out").iterdir()] == [acme.tenant_id]
        multitenant("backup", "--tenant", "nobody", "--output", "out", code=1)
        multitenant("backup", "--output", "out", code=2)

    def test_a_database_that_is_gone_is_no_empty_backup(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        acme = world.tenant("Acme")
        world.admin_db.client.drop_database(world.record(acme.tenant_id)["dbName"])
        result = multitenant("backup", "--tenant", "Acme", "--output", "out", code=1)
        assert "is empty, or gone" in result.output
        assert list((tmp_path / "out").iterdir()) == []
        world.admin_db["tenants"].delete_one({"name": "Acme"})


def test_a_backup_that_is_killed_leaves_no_directory_of_that_name_and_can_be_run_again(
    world: World, tmp_path: Path
) -> None:
    owner = world.tenant("Acme")
    assert _killed_in_child(world, owner, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".{owner.tenant_id}.partial"]
    directory = back_up(world, owner, tmp_path)
    StoredBackup(directory).verify(lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == [owner.tenant_id]


def _killed_in_child(world: World, owner: User, output: Path) -> bool:
    """Back up in a process that dies just before the directory gets its name."""
    child = os.fork()
    if child == 0:
        platform = platform_of(create_app(world.platform.settings))
        record = find_tenant_by_name(platform.connections.admin_db, "Acme")
        assert record is not None
        Path.rename = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,method-assign]
        work = Backup(platform.connections, platform.cipher, output, gzipped=False, parallel=1)
        list(work.run([record]))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_two_backups_into_one_directory_do_not_mix(world: World, tmp_path: Path) -> None:
    owner = world.tenant("Acme")
    directory = tmp_path / owner.tenant_id

    with (
        _new_directory(directory),
        pytest.raises(BackupError, match="Another process"),
        _new_directory(directory),
    ):
        pass
    assert directory.is_dir()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(world: World, tmp_path: Path) -> None:
    """Twice as much of it takes no more: some batches of MongoDB's, of 16 MB each."""
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    most = []
    for number in range(2):
        for _ in range(8):
            db["blobs"].insert_many([{"text": "x" * 100_000} for _ in range(60)])
        tracemalloc.start()
        try:
            directory = back_up(world, owner, tmp_path / str(number))
            StoredBackup(directory).verify(lambda _: None)
            most.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert (directory / "blobs.bson").stat().st_size > 90e6
    assert most[1] < most[0] * 1.1
