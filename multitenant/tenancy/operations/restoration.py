"""Restoring a tenant in place: going back to a backup, and, if that was wrong, back again.

The tenant refuses requests meanwhile. The backup goes into a fresh database, and one transaction
switches the tenant to it, with its memberships and the end of all sessions. Until that commits,
the tenant is as it was; the database it had is kept, and may be switched to in the same way.
"""

import logging
from collections.abc import Iterator, Sequence
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
from multitenant.tenancy.lifecycle.tenant_locks import EnsureHeld, TenantLocks
from multitenant.tenancy.operations.stored_backup import StoredBackup
from multitenant.tenancy.operations.tenant_copies import SWITCH_SECONDS
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.handshakes import shake_hands
from multitenant.tenancy.users.returning_users import ReturningUsers, prepare_users
from multitenant.tenancy.users.withdrawals import Withdrawals

logger = logging.getLogger(__name__)

UNDER_WAY_SECONDS = 5.0
"""How long a restore waits for requests that began before it."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The tenant, its database now and before, and what that means for its users."""

    tenant_id: ObjectId
    name: str
    db_name: str
    kept_db_name: str
    users: ReturningUsers
    copied: Copied | None = None


@dataclass(frozen=True, slots=True)
class _Begun:
    """A maintenance: the tenant's record in it, and what makes sure that its lock is held."""

    record: MongoDocument
    ensure_locked: EnsureHeld


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
        self,
        backup: StoredBackup,
        actor: Actor,
        progress: Progress,
        *,
        uri: str | None = None,
        seen: MongoDocument | None = None,
    ) -> Restored:
        """Take the tenant back to its own backup, which was verified. One on a server of its own
        needs the `uri` of an empty database, such as another one there. With `seen`, by which
        somebody has decided, the tenant must have that database still.

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
            self._in_maintenance(tenant_id, seen) as begun,
            self._fresh.prepared(
                tenant_id,
                isolation=begun.record["isolation"],
                uri=uri,
                exists=True,
                stays_on=begun.record["cluster"],
            ) as fresh,
        ):
            copied = fill_database(fresh.db, backup.contents(), progress)
            version = bring_up_to_date(fresh.db)
            write_identity(fresh.db, tenant_id)
            self._settle(tenant_id)
            at = backup.manifest.snapshot.at
            action = "tenant.restore_backup"
            users = self._switch(begun, fresh.db, fresh.home, version, actor, action, snapshotAt=at)
        return self._restored(begun.record, fresh.db, users, copied)

    def undo(
        self, tenant_id: ObjectId, actor: Actor, *, seen: MongoDocument | None = None
    ) -> Restored:
        """Take the tenant back to the database that it had before the last restore (or undo),
        which is kept. The one that it has in `seen`, or when this is called, is kept instead: two
        at once would take each other back, so the second is refused.

        Raises NotFound when there is none, and the same.
        """
        with self._in_maintenance(tenant_id, seen or self._existing(tenant_id)) as begun:
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
                self._settle(tenant_id)
                home = self._home(begun.record, note, db, uri)
                action = "tenant.undo_restore"
                users = self._switch(begun, db, home, version, actor, action)
        return self._restored(begun.record, db, users)

    def confirm(
        self,
        tenant_id: ObjectId,
        actor: Actor,
        *,
        action: str = "tenant.confirm_restore",
        seen: Sequence[MongoDocument] | None = None,
    ) -> list[str]:
        """Drop the databases that the tenant had before, and return their names. There is no way
        back after that; should the process die, `multitenant tenants gc` drops them. The audit log
        calls it `action`. Raises NotFound when none is kept, and Conflict when others are kept than
        those in `seen`, the notes that somebody has decided by, or another command is at work on
        the tenant for long: a move looks for late writes where the tenant was."""
        admin_db = self._connections.admin_db

        def release(ensure_locked: EnsureHeld) -> list[MongoDocument]:
            ensure_locked()
            notes = provisionings.release_kept(admin_db, tenant_id)
            if not notes:
                raise NotFound("No database that the tenant had before is kept")
            if seen is not None and {it["_id"] for it in notes} != {it["_id"] for it in seen}:
                raise Conflict("The tenant has other kept databases by now; look at them again")
            names = [note["dbName"] for note in notes]
            actor.record(admin_db, action, tenant_id, dropped=names)
            return notes

        with TenantLocks(lambda: admin_db) as locks, locks.locked(tenant_id) as ensure_locked:
            notes = run_transaction(
                self._connections.admin_client,
                lambda: release(ensure_locked),
                seconds=self._transaction_seconds,
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
    def _in_maintenance(self, tenant_id: ObjectId, seen: MongoDocument | None) -> Iterator[_Begun]:
        with (
            TenantLocks(lambda: self._connections.admin_db) as locks,
            locks.locked(tenant_id) as ensure_locked,
            maintenance(
                self._connections,
                seen or self._existing(tenant_id),
                transaction_seconds=self._transaction_seconds,
            ) as begun,
        ):
            yield _Begun(begun, ensure_locked)

    def _settle(self, tenant_id: ObjectId) -> None:
        """Wait until every process has ended what it does in the tenant. One that does not say so
        in time refuses the tenant by now; what it still writes is kept with the rest."""
        seconds = self._settle_seconds + UNDER_WAY_SECONDS
        if not shake_hands(self._connections.admin_db, tenant_id, seconds=seconds):
            logger.warning("A request on the database before of %s takes long", tenant_id)

    def _switch(
        self,
        begun: _Begun,
        db: MongoDatabase,
        home: Home,
        version: int,
        actor: Actor,
        action: str,
        **details: Any,
    ) -> ReturningUsers:
        record = begun.record
        admin_db, tenant_id = self._connections.admin_db, record["_id"]
        # Whatever it has become: a lost one is what a restore is for.
        with unchecked_database(self._connections, self._cipher, record) as present:
            users = prepare_users(admin_db, tenant_id, present, db)

        def write() -> None:
            switch_database(
                admin_db,
                self._cipher,
                record,
                home,
                ensure_locked=begun.ensure_locked,
                schema_version=version,
            )
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
