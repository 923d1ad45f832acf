"""Removing a deleted tenant for good: its records in one transaction, then its databases."""

import logging

from multitenant.errors import Conflict
from multitenant.repositories.admin import (
    handshakes,
    idempotency_keys,
    provisionings,
    revocations,
    tenant_users,
    tenants,
)
from multitenant.repositories.model import MongoDocument
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import delete_turns, take_turn
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import list_users
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted
from multitenant.tenancy.lifecycle.orphans import drop_orphan
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

TENANT_CHANGED = "The tenant was changed meanwhile; look at it again"


def purge_tenant(
    connections: ConnectionManager,
    cipher: FieldCipher,
    record: MongoDocument,
    actor: Actor,
    *,
    seconds: float,
) -> dict[str, bool]:
    """Remove the tenant, which is deleted in `record`, with all the databases that it has, had, or
    was about to get; return what was looked for afterwards and is gone. The transaction has so many
    `seconds`. Raises Conflict when the record is another by now, and what ensure_write_permitted()
    raises."""
    admin_db, tenant_id = connections.admin_db, record["_id"]

    def remove_records() -> tuple[MongoDocument, list[MongoDocument]]:
        ensure_write_permitted()
        take_turn(admin_db, tenant_id)
        if not tenants.delete_tenant(admin_db, record):
            raise Conflict(TENANT_CHANGED)
        delete_turns(admin_db, tenant_id)
        idempotency_keys.delete_idempotency_keys(admin_db, tenant_id)
        handshakes.delete_handshakes(admin_db, tenant_id)
        note = provisionings.insert_provisioning(
            admin_db,
            tenant_id,
            db_name=record["dbName"],
            cluster=record["cluster"],
            db_uri=record.get("dbUri"),
            has_users=bool(record.get("credentials")),
            purged=True,
        )
        actor.record(admin_db, "tenant.purge", tenant_id, name=record["name"])
        return note, provisionings.claim_other_databases(admin_db, tenant_id)

    note, others = run_transaction(connections.admin_client, remove_records, seconds=seconds)
    connections.forget(tenant_id)
    # They may be many, and open nothing any more. After a kill, the note has the memberships
    # removed, and MongoDB removes the revocations when they are over.
    tenant_users.delete_tenant_users(admin_db, tenant_id)
    revocations.delete_user_revocations(admin_db, tenant_id)
    drop_orphan(connections, cipher, tenant_id, note, keep_note=True)
    gone = [
        # They may be written to once more, by a command that does not know yet.
        drop_orphan(connections, cipher, one["_id"], one, keep_note=True)
        for one in others
    ]
    logger.info("Purged tenant %s", tenant_id)
    verified = _verify_gone(connections, cipher, record)
    return verified | {"replacedDatabases": all(gone)} if others else verified


def _verify_gone(
    connections: ConnectionManager, cipher: FieldCipher, record: MongoDocument
) -> dict[str, bool]:
    """Look for everything that a purged tenant had."""
    admin_db, tenant_id = connections.admin_db, record["_id"]
    uri = decrypt_uri(cipher, record.get("dbUri"), tenant_id)
    with (
        widened_scope(record["dbName"]),
        connections.operator_client(record["cluster"], uri) as client,
    ):
        db = client[record["dbName"]]
        gone = {
            "tenant": tenants.find_tenant(admin_db, tenant_id) is None,
            "memberships": not tenant_users.has_tenant_users(admin_db, tenant_id),
            "revocations": not revocations.has_user_revocations(admin_db, tenant_id),
            "database": not db.list_collection_names(),
            "cacheEntry": connections.evict(tenant_id),
        }
        users = list_users(db) if record["cluster"] != EXTERNAL_CLUSTER else None
        if users is not None:
            gone["databaseUsers"] = not users
    return gone
