"""A backup that is damaged, or made up: a clear error, and nothing has changed."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import bson
import pytest

from multitenant.errors import BackupError
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.stored_backup import StoredBackup
from tests.integration.backups import back_up, restore
from tests.integration.test_copies import restore_as_new
from tests.support import User, World

Damage = Callable[[Path], object]


def manifest(directory: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((directory / "manifest.json").read_text())
    return read


def rewrite(**changes: Any) -> Damage:
    """Change fields of the manifest."""

    def damage(directory: Path) -> None:
        text = json.dumps(manifest(directory) | changes)
        (directory / "manifest.json").write_text(text)

    return damage


def forge(name: str, data: bytes, **changes: Any) -> Damage:
    """Replace the documents of a collection, with a manifest that fits."""

    def damage(directory: Path) -> None:
        (directory / f"{name}.bson").write_bytes(data)
        read = manifest(directory)
        for one in read["collections"]:
            if one["name"] == name:
                one |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                one |= changes
        (directory / "manifest.json").write_text(json.dumps(read))

    return damage


def forge_metadata(name: str, **changes: Any) -> Damage:
    """Change what is told of a collection, with a manifest that fits."""

    def damage(directory: Path) -> None:
        path = directory / f"{name}.metadata.json"
        text = json.dumps(json.loads(path.read_text()) | changes)
        path.write_text(text)
        read = manifest(directory)
        for one in read["collections"]:
            if one["name"] == name:
                one["metadataSha256"] = hashlib.sha256(text.encode()).hexdigest()
        (directory / "manifest.json").write_text(json.dumps(read))

    return damage


def rename(to: str) -> Damage:
    """Call a collection otherwise in the manifest."""

    def damage(directory: Path) -> None:
        read = manifest(directory)
        read["collections"][0]["name"] = to
        (directory / "manifest.json").write_text(json.dumps(read))

    return damage


def flip(directory: Path) -> None:
    path = directory / "users.bson"
    data = bytearray(path.read_bytes())
    data[data.index(b"acme.example")] ^= 1
    path.write_bytes(data)


def link(directory: Path) -> None:
    """The file is somebody else's."""
    (directory / "users.bson").rename(directory.parent / "elsewhere.bson")
    (directory / "users.bson").symlink_to(directory.parent / "elsewhere.bson")


def user(**changes: Any) -> bytes:
    return bson.encode({"_id": bson.ObjectId(), "email": "x@x.example", **changes})


BIG = (16 * 2**20 + 5).to_bytes(4, "little") + bytes(16 * 2**20 + 1)
BAD_INSIDE = b"\x10\0\0\0\x10_id\0\x01\0\0\0\x55x\0"
DAMAGES: dict[str, tuple[Damage, str]] = {
    "truncated": (
        lambda at: os.truncate(at / "users.bson", (at / "users.bson").stat().st_size - 1),
        "'users'.*checksum",
    ),
    "cut at a document": (lambda at: os.truncate(at / "users.bson", 0), "checksum"),
    "a flipped bit": (flip, "'users'.*checksum"),
    "another count": (forge("todos", b"", documents=1), "has 0 documents, and 1 were written"),
    "not BSON": (forge("todos", b"hello, world"), "'todos'.*document of"),
    "no BSON inside": (forge("todos", BAD_INSIDE, documents=1), "'todos'.*refuses"),
    "too large": (forge("todos", BIG, documents=1), "'todos'.*16777216 at most"),
    "the same id twice": (
        forge("todos", 2 * bson.encode({"_id": 1}), documents=2),
        r"'todos' has a document that MongoDB refuses \(error 11000\)",
    ),
    "no users": (forge("users", b"", documents=0), "no owner"),
    "users that are none": (forge("users", user(role=["owner"]), documents=1), "not as users are"),
    "a token version without end": (
        forge(
            "users",
            user(
                role="owner",
                status="active",
                tokenVersion=2**63 - 1,
                createdAt=bson.datetime_ms.DatetimeMS(0),
                updatedAt=bson.datetime_ms.DatetimeMS(0),
            ),
            documents=1,
        ),
        "not as users are",
    ),
    "no documents": (lambda at: (at / "posts.bson").unlink(), "posts.bson is missing"),
    "no metadata": (
        lambda at: (at / "posts.metadata.json").unlink(),
        "posts.metadata.json is missing",
    ),
    "other metadata": (
        lambda at: (at / "posts.metadata.json").write_text("{}"),
        "posts.metadata.json.*checksum",
    ),
    "a link": (link, "users.bson is missing"),
    "no manifest": (lambda at: (at / "manifest.json").unlink(), "is no backup"),
    "a manifest that is none": (lambda at: (at / "manifest.json").write_text("{"), "is damaged"),
    "no JSON object": (lambda at: (at / "manifest.json").write_text("[]"), "is damaged"),
    "another format": (rewrite(format=2), "another format than 1"),
    "a later schema": (rewrite(schemaVersion=99), "schema version 99"),
    "a field too many": (rewrite(more=1), "is damaged: more"),
    "a path": (rename("../x"), "no name of a collection"),
    "a path to the top": (rename("/etc/passwd"), "passwd.metadata.json is missing"),
    "a system collection": (rename("system.views"), "no name of a tenant's collection"),
    "a name with $": (rename("$cmd"), "no name of a collection"),
    "one listed twice": (rename("users"), "listed twice"),
    "an index of nothing": (
        forge_metadata("todos", indexes=[{"name": "x", "key": {}}]),
        "An index of 'todos' cannot be made",
    ),
    "an index without keys": (forge_metadata("todos", indexes=[{"name": "x"}]), "without a name"),
    "options of another command": (
        forge_metadata("todos", options={"writeConcern": {"w": 0}}),
        "options that are not taken: writeConcern",
    ),
    "options that MongoDB refuses": (
        forge_metadata("todos", options={"capped": "no"}),
        "'todos' cannot be made",
    ),
    "metadata of another collection": (
        forge_metadata("todos", collectionName="users"),
        "of another collection",
    ),
}


BY_THE_WAY = {"audit", "turns", "locks", "heartbeats", "processes", "handshakes", "places"}
"""Collections of the admin database that say nothing of tenants, or are only ever added to."""


def everything(world: World) -> Any:
    """All there is, but what is written by the way."""
    names = sorted(set(world.admin_db.list_collection_names()) - BY_THE_WAY)
    tenants = {name: list(world.admin_db[name].find().sort("_id", 1)) for name in names}
    for record in tenants["tenants"]:
        record.pop("updatedAt")
    return tenants, world.databases()


def test_a_damaged_backup_changes_nothing(world: World, tmp_path: Path) -> None:
    """Restored in place or as a new tenant, in turns, which differ only at the end."""
    owner = world.tenant("Acme")
    sound = back_up(world, owner, tmp_path / "sound")
    before = everything(world)
    for number, (what, (damage, why)) in enumerate(DAMAGES.items()):
        directory = tmp_path / str(number) / owner.tenant_id
        shutil.copytree(sound, directory)
        damage(directory)
        use = partial(restore_as_new, name="New") if number % 2 else restore
        with pytest.raises(BackupError) as refused:
            use(world, directory)
        assert re.search(why, str(refused.value)), (what, str(refused.value))
        assert everything(world) == before, what
    assert owner.get("/api/users/me").status_code == 200


def test_a_damaged_gzip_file_is_told(world: World, tmp_path: Path) -> None:
    directory = back_up(world, world.tenant("Acme"), tmp_path, gzipped=True)
    for name in ("users.bson.gz", "users.metadata.json.gz"):
        path = directory / name
        data = path.read_bytes()
        broken = data[:12] + b"\xff\xff\xff" + data[15:]
        for damaged in (data[:-9], b"no gzip", broken):
            path.write_bytes(damaged)
            with pytest.raises(BackupError, match=f"{name} is no whole gzip file"):
                restore_as_new(world, directory, name="New")
        path.write_bytes(data)


def test_a_file_that_changes_after_it_was_verified_is_noticed(world: World, tmp_path: Path) -> None:
    owner = world.tenant("Acme")
    directory = back_up(world, owner, tmp_path)
    backup = StoredBackup(directory)
    backup.verify(lambda _: None)
    flip(directory)
    before = everything(world)
    with pytest.raises(BackupError, match="checksum"):
        world.platform.restoration.restore(backup, Actor.on_command_line(), lambda _: None)
    assert everything(world) == before


def test_a_document_in_no_error(world: World, tmp_path: Path) -> None:
    """What MongoDB says of one that it refuses may hold it."""
    owner: User = world.tenant("Acme")
    directory = back_up(world, owner, tmp_path)
    secret = bson.encode({"_id": "a secret"})
    forge("todos", secret * 2, documents=2)(directory)
    with pytest.raises(BackupError) as refused:
        restore(world, directory)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None
