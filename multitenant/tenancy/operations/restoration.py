"""Restoring a tenant in place: going back to a backup, and, if that was wrong, back again.

The tenant refuses requests meanwhile. The backup goes into a fresh database, and one transaction
switches the tenant to it, with its memberships and the end of all sessions. Until that commits,
the tenant is as it was; the database it had is kept, and may be switched to in the same way.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import ObjectId
from pymongo.errors import OperationFailure

from multitenant.errors import Conflict, NotFound
from multitenant.repositories.admin import provisionings, tenants
from multitenant.repositories.error_codes import TRANSACTION_TOO_LARGE
from multitenant.repositories.error_kinds import codes_of
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.transactions import run_transaction
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.contents.copying import MAX_SECONDS, Copied, Progress, fill_database
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import create_user
from multitenant.tenancy.deployments.external import decrypt_uri, encrypt_uri
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.identity import ensure_own_database, write_identity
from multitenant.tenancy.lifecycle.fresh_databases import FreshDatabases, Home, bring_up_to_date
from multitenant.tenancy.lifecycle.maintenance import maintenance
from multitenant.tenancy.lifecycle.orphans import drop_orphan
from multitenant.tenancy.lifecycle.platform_access import unchecked_database
from multitenant.tenancy.lifecycle.switching import switch_database
from multitenant.tenancy.lifecycle.tenant_locks import TenantLocks
from multitenant.tenancy.operations.stored_backup import StoredBackup
from multitenant.tenancy.operations.tenant_copies import SWITCH_SECONDS
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.users.returning_users import ReturningUsers, prepare_users
from multitenant.tenancy.users.withdrawals import Withdrawals

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Restored:
    """The tenant, its database now and before, and what that means for its users."""

    tenant_id: ObjectId
    name: str
    db_name: str
    kept_db_name: str
    users: ReturningUsers
    copied: Copied | None = None


class Restoration:
    """Restores tenants, and takes that back."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        fresh: FreshDatabases,
        withdrawals: Withdrawals,
        *,
        settle_seconds: float,
        transaction_seconds: float,
    ) -> None:
        """`settle_seconds` after a change of a tenant's record every process knows it."""
        self._connections = connections
        self._cipher = cipher
        self._fresh = fresh
        self._withdrawals = withdrawals
        self._settle_seconds = settle_seconds
        self._transaction_seconds = transaction_seconds

    def restore(
        self, backup: StoredBackup, actor: Actor, progress: Progress, *, uri: str | None = None
    ) -> Restored:
        """Take the tenant back to its own backup, which was verified. One on a server of its own
        needs the `uri` of an empty database, such as another one there.

        Raises NotFound, Conflict (see maintenance(), too), BackupError, and ValidationFailed for a
        `uri` that is not taken. Whatever is raised, the tenant is as it was.
        """
        tenant_id = backup.manifest.tenant.id
        record = self._existing(tenant_id)
        if record["cluster"] != EXTERNAL_CLUSTER and uri:
            raise Conflict("The tenant lives on the platform's servers; it takes no URI")
        if record["cluster"] == EXTERNAL_CLUSTER and not uri:
            raise Conflict(
                "The tenant is on a server of its own, where the platform makes no databases: name"
                " an empty one with --db-uri-file"
            )
        with (
            self._in_maintenance(record) as (begun, settle),
            self._fresh.prepared(
                tenant_id,
                isolation=begun["isolation"],
                uri=uri,
                exists=True,
                stays_on=begun["cluster"],
            ) as fresh,
        ):
            copied = fill_database(fresh.db, backup.contents(), progress)
            version = bring_up_to_date(fresh.db)
            write_identity(fresh.db, tenant_id)
            settle()
            at = backup.manifest.snapshot.at
            action = "tenant.restore_backup"
            users = self._switch(begun, fresh.db, fresh.home, version, actor, action, snapshotAt=at)
        return self._restored(record, fresh.db, users, copied)

    def undo(self, tenant_id: ObjectId, actor: Actor) -> Restored:
        """Take the tenant back to the database that it had before the last restore (or undo),
        which is kept. The one it has now is kept instead.

        Raises NotFound when there is none, and the same.
        """
        record = self._existing(tenant_id)
        with self._in_maintenance(record) as (begun, settle):
            # What a move has left is a copy that lacks what was written since.
            notes = (note for note in self.kept(tenant_id) if not note.get("moved"))
            note = next(notes, None)
            if note is None:
                raise NotFound("No database that the tenant had before a restore is kept")
            uri = decrypt_uri(self._cipher, note.get("dbUri"), note["_id"])
            with (
                self._connections.operator_client(note["cluster"], uri) as client,
                widened_scope(note["dbName"]),
                pymongo.timeout(MAX_SECONDS),
            ):
                db = client[note["dbName"]]
                ensure_own_database(self._connections.admin_db, db, tenant_id)
                version = bring_up_to_date(db)
                settle()
                home = self._home(begun, note, db, uri)
                action = "tenant.undo_restore"
                users = self._switch(begun, db, home, version, actor, action)
        return self._restored(record, db, users)

    def confirm(
        self, tenant_id: ObjectId, actor: Actor, *, action: str = "tenant.confirm_restore"
    ) -> list[str]:
        """Drop the databases that the tenant had before, and return their names. There is no way
        back after that; should the process die, `multitenant tenants gc` drops them. The audit log
        calls it `action`. Raises NotFound when none is kept."""
        admin_db = self._connections.admin_db

        def release() -> list[MongoDocument]:
            notes = provisionings.release_kept(admin_db, tenant_id)
            if not notes:
                raise NotFound("No database that the tenant had before is kept")
            names = [note["dbName"] for note in notes]
            actor.record(admin_db, action, tenant_id, dropped=names)
            return notes

        notes = run_transaction(
            self._connections.admin_client, release, seconds=self._transaction_seconds
        )
        return [
            note["dbName"]
            for note in notes
            if drop_orphan(self._connections, self._cipher, note["_id"], note)
        ]

    def kept(self, tenant_id: ObjectId) -> list[MongoDocument]:
        """Return the notes of the databases that the tenant had before, the latest first."""
        return provisionings.list_kept(self._connections.admin_db, tenant_id=tenant_id)

    def _existing(self, tenant_id: ObjectId) -> MongoDocument:
        record = tenants.find_tenant(self._connections.admin_db, tenant_id)
        if record is None:
            raise NotFound("There is no such tenant (any more): restore it as a new one")
        return record

    @contextmanager
    def _in_maintenance(
        self, record: MongoDocument
    ) -> Iterator[tuple[MongoDocument, Callable[[], None]]]:
        with (
            TenantLocks(lambda: self._connections.admin_db) as locks,
            locks.locked(record["_id"]),
            maintenance(
                self._connections,
                record,
                settle_seconds=self._settle_seconds,
                transaction_seconds=self._transaction_seconds,
            ) as begun,
        ):
            yield begun

    def _switch(
        self,
        record: MongoDocument,
        db: MongoDatabase,
        home: Home,
        version: int,
        actor: Actor,
        action: str,
        **details: Any,
    ) -> ReturningUsers:
        admin_db, tenant_id = self._connections.admin_db, record["_id"]
        # Whatever it has become: a lost one is what a restore is for.
        with unchecked_database(self._connections, self._cipher, record) as present:
            users = prepare_users(admin_db, tenant_id, present, db)

        def write() -> None:
            switch_database(admin_db, self._cipher, record, home, schema_version=version)
            users.write(admin_db, tenant_id, expires_at=self._withdrawals.expiry())
            actor.record(
                admin_db,
                action,
                tenant_id,
                dbName=home.db_name,
                keptDbName=record["dbName"],
                usersBack=len(users.back),
                usersGone=len(users.gone),
                usersChanged=len(users.changed),
                **details,
            )

        try:
            run_transaction(self._connections.admin_client, write, seconds=SWITCH_SECONDS)
        except OperationFailure as error:  # its text is as long
            if codes_of(error) & TRANSACTION_TOO_LARGE:
                raise Conflict(
                    "More users differ than MongoDB's cache holds in one transaction: restore it"
                    " as a new tenant"
                ) from None
            raise
        logger.info("Tenant %s has the database %s now", tenant_id, home.db_name)
        return users

    def _home(
        self, record: MongoDocument, note: MongoDocument, db: MongoDatabase, uri: str | None
    ) -> Home:
        """What the record says once it names a database that was kept."""
        tenant_id = record["_id"]
        credentials = None
        if record["isolation"] == "dedicated" and not uri:
            credentials = create_user(db).encrypted(tenant_id, self._cipher)
        return Home(
            note["_id"],
            db.name,
            note["cluster"],
            "dedicated" if uri else record["isolation"],
            encrypt_uri(self._cipher, uri, tenant_id) if uri else None,
            credentials,
        )

    def _restored(
        self,
        record: MongoDocument,
        db: MongoDatabase,
        users: ReturningUsers,
        copied: Copied | None = None,
    ) -> Restored:
        return Restored(record["_id"], record["name"], db.name, record["dbName"], users, copied)
