"""Giving a tenant another database: its record, in one transaction, and every worker follows.

Workers hear of the change as of any other (watcher.py); what decides which database serves a
tenant is part of its cache entry (Tenant.placement), so the next lease connects anew. The database
before is kept, under a note, for a way back.
"""

from typing import Any

from bson import ObjectId

from multitenant.errors import Conflict
from multitenant.repositories.admin import provisionings, tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.turns import take_turn
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.external import decrypt_uri, encrypt_uri
from multitenant.tenancy.lifecycle.fresh_databases import Home, take_note_away
from multitenant.tenancy.lifecycle.maintenance import LASTS, ensure_in_maintenance
from multitenant.tenancy.lifecycle.tenant_locks import EnsureHeld


def switch_database(
    admin_db: MongoDatabase,
    cipher: FieldCipher,
    record: MongoDocument,
    home: Home,
    *,
    ensure_locked: EnsureHeld,
    moving: bool = False,
    **changes: Any,
) -> MongoDocument:
    """Let the tenant live in another database from now on, keep the one before, and end the
    tenant's maintenance; not when it is `moving`, which is told of the one that is kept. Return the
    record.

    To be called in a transaction of the admin database, with the tenant in maintenance (or
    suspended) since before the last of its data was copied, and `record` as it was read then;
    `changes` are further fields. Raises Conflict when the tenant was changed, or served, since,
    or its lock was lost, and when the new database was claimed for dropping.
    """
    tenant_id = record["_id"]
    ensure_locked()
    take_turn(admin_db, tenant_id)  # see write_both()
    ensure_in_maintenance(admin_db, record)
    take_note_away(admin_db, home.note_id)
    uri = decrypt_uri(cipher, record.get("dbUri"), tenant_id)
    kept_id = ObjectId()
    provisionings.insert_provisioning(
        admin_db,
        kept_id,
        tenant_id=tenant_id,
        db_name=record["dbName"],
        cluster=record["cluster"],
        db_uri=encrypt_uri(cipher, uri, kept_id) if uri else None,
        has_users=bool(record.get("credentials")),
        purged=True,
        kept=True,
        moved=moving or None,
    )
    if record["status"] == "maintenance":
        changes |= (
            {"maintenance_until": utc_now() + LASTS}
            if moving
            else {"status": "active", **tenants.NO_MAINTENANCE}
        )
    changed = tenants.update_tenant(
        admin_db,
        record,
        db_name=home.db_name,
        cluster=home.cluster,
        isolation=home.isolation,
        db_uri=home.db_uri,
        credentials=home.credentials,
        **changes,
    )
    if changed is None:
        raise Conflict("The tenant was changed meanwhile; look at it again")
    return changed
