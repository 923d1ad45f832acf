"""What tests of backups speak: the commands, and databases that can be compared."""

import json
from pathlib import Path
from typing import Any, Protocol

from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from click.testing import Result

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.contents.collection_specs import read_specs
from multitenant.tenancy.operations.backup import Backup
from multitenant.tenancy.operations.restoration import Restored
from multitenant.tenancy.operations.stored_backup import StoredBackup
from tests.support import User, World


class Multitenant(Protocol):
    """Runs a command on the platform of the test."""

    def __call__(self, *args: object, code: int = 0) -> Result: ...


def told(result: Result) -> Any:
    """What a command printed with --json."""
    return json.loads(result.stdout)


def back_up(world: World, owner: User, output: Path, *, gzipped: bool = False) -> Path:
    """Back the owner's tenant up, and return the directory."""
    platform = world.platform
    work = Backup(platform.connections, platform.cipher, output, gzipped=gzipped, parallel=1)
    (done,) = work.run([world.record(owner.tenant_id)])
    assert done.error is None, done.error
    assert done.manifest is not None
    return done.directory


def restore(world: World, directory: Path, **options: Any) -> Restored:
    """Take the backup's tenant back to it."""
    backup = StoredBackup(directory)
    backup.verify(lambda _: None)
    return world.platform.restoration.restore(
        backup, Actor.on_command_line(), lambda _: None, **options
    )


def raw_contents(db: MongoDatabase, *without: str) -> dict[str, list[bytes]]:
    """All documents of all collections, byte for byte, by `_id`."""
    raw = db.with_options(
        codec_options=db.codec_options.with_options(document_class=RawBSONDocument)
    )
    return {
        spec.name: [found.raw for found in raw[spec.name].find().sort("_id", 1)]
        for spec in read_specs(db)
        if spec.kind == "collection" and spec.name not in without
    }


def shapes(db: MongoDatabase) -> list[tuple[Any, ...]]:
    """Options and indexes of all collections and views."""
    return [(spec.name, spec.kind, spec.options, spec.indexes) for spec in read_specs(db)]


def memberships(world: World, tenant_id: str) -> dict[ObjectId, str]:
    """The tenant's memberships: emails by user ids."""
    found = world.admin_db["tenantusers"].find({"tenantId": ObjectId(tenant_id)})
    return {one["userId"] if "userId" in one else one["_id"]: one["email"] for one in found}


def users(db: MongoDatabase) -> dict[ObjectId, str]:
    """The same of the users in a tenant's database."""
    return {user["_id"]: user["email"] for user in db["users"].find()}
