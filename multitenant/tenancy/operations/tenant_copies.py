"""New tenants with the data of another one: of a backup, or of a tenant as it is at this moment."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from multitenant.errors import Conflict, NotFound
from multitenant.repositories.admin import tenant_users, tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.contents.copying import Copied, Progress, copy_database, fill_database
from multitenant.tenancy.contents.manifest import BackedUpTenant
from multitenant.tenancy.identity import write_identity
from multitenant.tenancy.lifecycle.fresh_databases import (
    FreshDatabases,
    Home,
    bring_up_to_date,
    take_note_away,
)
from multitenant.tenancy.lifecycle.platform_access import tenant_database
from multitenant.tenancy.lifecycle.provisioning import ensure_free
from multitenant.tenancy.operations.stored_backup import StoredBackup
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.users.returning_users import sound_users

logger = logging.getLogger(__name__)

SWITCH_SECONDS = 60.0
"""For the one transaction: very many users may differ."""


@dataclass(frozen=True, slots=True)
class CopiedTenant:
    """The new tenant, and what is in its database."""

    tenant_id: ObjectId
    name: str
    db_name: str
    users: int
    copied: Copied


class TenantCopies:
    """Makes them: each exists entirely or not at all, like one that is added (provisioning.py)."""

    def __init__(
        self, connections: ConnectionManager, cipher: FieldCipher, fresh: FreshDatabases
    ) -> None:
        self._connections = connections
        self._cipher = cipher
        self._fresh = fresh

    def restore(
        self, backup: StoredBackup, new: TenantCopy, actor: Actor, progress: Progress
    ) -> CopiedTenant:
        """Make a tenant from a backup, which was verified.

        It is placed as one that is added: see FreshDatabases.prepared(). Raises AlreadyExists with
        the field that is taken, BackupError, and Conflict for a backup of the operators' tenant.
        """
        manifest = backup.manifest
        return self._make(
            manifest.tenant,
            new,
            lambda db: fill_database(db, backup.contents(), progress),
            actor,
            "tenant.restore_as_new",
            snapshotAt=manifest.snapshot.at,
        )

    def clone(
        self, record: MongoDocument, new: TenantCopy, actor: Actor, progress: Progress
    ) -> CopiedTenant:
        """Make a tenant with the data that another one has at this moment, while it works, and
        with what its record says by then. Raises the same, and NotFound when it was purged
        meanwhile."""

        def copy(db: MongoDatabase) -> Copied:
            current = self._current(record)
            with tenant_database(self._connections, self._cipher, current) as source:
                return copy_database(source, db, progress)

        source = BackedUpTenant.of(self._current(record))
        return self._make(source, new, copy, actor, "tenant.clone")

    def _current(self, record: MongoDocument) -> MongoDocument:
        """The tenant's record as it is stored now: a listed one may have values made up."""
        current = tenants.find_tenant(self._connections.admin_db, record["_id"])
        if current is None:
            raise NotFound("There is no such tenant any more")
        return current

    def _make(
        self,
        source: BackedUpTenant,
        new: TenantCopy,
        fill: Callable[[MongoDatabase], Copied],
        actor: Actor,
        action: str,
        **details: Any,
    ) -> CopiedTenant:
        if source.system:
            raise Conflict("The operators' tenant exists once: it is not copied")
        admin_db = self._connections.admin_db
        ensure_free(admin_db, new.name, new.subdomain)
        tenant_id = ObjectId()
        with self._fresh.prepared(
            tenant_id,
            isolation=new.isolation or source.isolation,
            uri=new.db_uri.get_secret_value() if new.db_uri else None,
            exists=False,
            told=new.cluster,
        ) as fresh:
            copied = fill(fresh.db)
            version = bring_up_to_date(fresh.db)
            write_identity(fresh.db, tenant_id)
            emails = sound_users(fresh.db)
            # They may be too many for one transaction; without the tenant they open nothing.
            tenant_users.insert_copied_tenant_users(admin_db, tenant_id, emails)

            def insert() -> None:
                take_note_away(admin_db, fresh.home.note_id)
                self._insert(tenant_id, source, new, fresh.home, version)
                actor.record(
                    admin_db, action, tenant_id, name=new.name, sourceId=str(source.id), **details
                )

            run_transaction(self._connections.admin_client, insert, seconds=SWITCH_SECONDS)
        logger.info("Made tenant %s of tenant %s", tenant_id, source.id)
        return CopiedTenant(tenant_id, new.name, fresh.db.name, len(emails), copied)

    def _insert(
        self, tenant_id: ObjectId, source: BackedUpTenant, new: TenantCopy, home: Home, version: int
    ) -> None:
        now = utc_now()
        tenants.insert_tenant(
            self._connections.admin_db,
            id=tenant_id,
            name=new.name,
            subdomain=new.subdomain,
            db_name=home.db_name,
            cluster=home.cluster,
            isolation=home.isolation,
            db_uri=home.db_uri,
            credentials=home.credentials,
            status="active",
            modules=new.modules if "modules" in new.model_fields_set else source.modules,
            user_limit=new.user_limit
            if "user_limit" in new.model_fields_set
            else source.user_limit,
            system=False,
            schema_version=version,
            created_at=now,
            updated_at=now,
        )
