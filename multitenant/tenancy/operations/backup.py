"""Backing tenants up: each into a directory of its own, which is whole if it exists."""

import fcntl
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path

from bson import ObjectId

from multitenant.errors import BackupError
from multitenant.repositories.admin.tenants import find_tenant
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.contents.collection_specs import CollectionSpec
from multitenant.tenancy.contents.copying import Progress
from multitenant.tenancy.contents.dump_format import sync_directory, write_documents, write_metadata
from multitenant.tenancy.contents.manifest import (
    BackedUpCollection,
    BackedUpTenant,
    Manifest,
    Moment,
)
from multitenant.tenancy.contents.snapshots import Snapshot, open_snapshot
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.fresh_databases import ensure_known_migrations
from multitenant.tenancy.lifecycle.platform_access import tenant_database
from multitenant.tenancy.migrations import newest_applied
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.users.returning_users import sound_users

logger = logging.getLogger(__name__)

PRIVATE_DIRECTORY = 0o700


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What became of one tenant."""

    tenant_id: ObjectId
    name: str
    directory: Path
    manifest: Manifest | None = None
    error: str | None = None
    """Why there is no backup; None when there is one."""
    warning: str | None = None
    """Why `multitenant restore` would refuse the backup, as the tenant's data is."""


class Backup:
    """Backs tenants up into `output`, a directory that is made if it is not there."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        output: Path,
        *,
        gzipped: bool,
        parallel: int,
    ) -> None:
        """At most `parallel` tenants are read at a time."""
        self._connections = connections
        self._cipher = cipher
        self._output = output
        self._gzipped = gzipped
        self._parallel = parallel

    def run(
        self, records: Sequence[MongoDocument], progress: Progress = lambda _: None
    ) -> Iterator[BackedUp]:
        """Back these tenants up, and tell of each as it is done. What fails does not end the
        others. Raises OSError when `output` cannot be made."""
        self._output.mkdir(mode=PRIVATE_DIRECTORY, parents=True, exist_ok=True)
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="backup") as pool:
            futures = [
                pool.submit(copy_context().run, self._one, record, progress) for record in records
            ]
            try:
                yield from (future.result() for future in as_completed(futures))
            finally:
                pool.shutdown(cancel_futures=True)

    def _one(self, record: MongoDocument, progress: Progress) -> BackedUp:
        tenant_id, name = record["_id"], record["name"]
        directory = self._output / str(tenant_id)
        written = None
        with (
            contained(f"No backup of tenant {tenant_id}") as failure,
            _new_directory(directory) as temporary,
        ):
            written = self._write(record, temporary, progress)
        if written is None:
            return BackedUp(tenant_id, name, directory, error=failure.message)
        manifest, warning = written
        return BackedUp(tenant_id, name, directory, manifest, warning=warning)

    def _current(self, record: MongoDocument) -> MongoDocument:
        """The tenant's record as it is now, which may be long after it was listed."""
        current = find_tenant(self._connections.admin_db, record["_id"])
        if current is None:
            raise BackupError("The tenant was purged meanwhile")
        return current

    def _write(
        self, record: MongoDocument, directory: Path, progress: Progress
    ) -> tuple[Manifest, str | None]:
        record = self._current(record)
        with tenant_database(self._connections, self._cipher, record) as db:
            version = newest_applied(db)
            with open_snapshot(db) as snapshot:
                if snapshot.taken_at is None:
                    raise BackupError(f"The database {db.name} is empty, or gone")
                if self._current(record)["dbName"] != record["dbName"]:
                    raise BackupError("The tenant has just got another database; try again")
                collections = [
                    self._write_collection(directory, snapshot, spec, progress)
                    for spec in snapshot.specs
                ]
                snapshot.ensure_whole()
                manifest = Manifest(
                    tenant=BackedUpTenant.of(record),
                    db_name=db.name,
                    mongodb_version=db.client.server_info()["version"],
                    schema_version=version,
                    snapshot=Moment.of(snapshot.taken_at),
                    gzipped=self._gzipped,
                    collections=collections,
                )
            warning = why_not_restorable(db)
        manifest.write(directory)
        return manifest, warning

    def _write_collection(
        self, directory: Path, snapshot: Snapshot, spec: CollectionSpec, progress: Progress
    ) -> BackedUpCollection:
        spec.ensure_sound()  # what could not be restored must not look like a backup
        metadata_sha256 = write_metadata(directory, spec, gzipped=self._gzipped)
        if spec.kind == "view":
            return BackedUpCollection(name=spec.name, kind="view", metadata_sha256=metadata_sha256)
        written = write_documents(
            directory,
            spec.stored_in,
            snapshot.batches(spec),
            gzipped=self._gzipped,
            progress=progress,
        )
        return BackedUpCollection(
            name=spec.name,
            kind=spec.kind,
            metadata_sha256=metadata_sha256,
            documents=written.documents,
            bytes=written.bytes,
            sha256=written.sha256,
        )


def why_not_restorable(db: MongoDatabase) -> str | None:
    """Return why a tenant with this database would not be restored; None where it would be."""
    try:
        ensure_known_migrations(db)
        sound_users(db)
    except BackupError as error:
        return str(error)
    return None


@contextmanager
def _new_directory(path: Path) -> Iterator[Path]:
    """Yield a directory to write into, which gets its name when the block has ended well, and is
    removed otherwise. What a killed process has left of it is taken over.

    Raises BackupError when there is one of that name already, or another process writes it.
    """
    if path.exists():
        raise BackupError(f"{path} exists already: choose another directory for this backup")
    temporary = path.with_name(f".{path.name}.partial")
    temporary.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    descriptor = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackupError(f"Another process is writing {path}") from error
        try:
            _empty(temporary)
            yield temporary
            os.fsync(descriptor)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_directory(path.parent)
    finally:
        os.close(descriptor)


def _empty(directory: Path) -> None:
    for left in directory.iterdir():
        left.unlink()
