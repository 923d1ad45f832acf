"""What becomes of a tenant: suspended and activated, deleted and restored, and purged.

Each is done once however often it is asked for, and is in the audit log if and only if it was
done: both are one transaction.
"""

import logging
from datetime import datetime
from typing import Any

from bson import ObjectId

from multitenant.errors import Conflict, NotFound, ValidationFailed
from multitenant.repositories.admin import idempotency_keys, revocations, tenant_users, tenants
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.schemas.admin.tenants import TenantChanges
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.isolation import widened_scope
from multitenant.tenancy.orphans import drop_prepared, mark_prepared
from multitenant.tenancy.transactions import run_transaction

logger = logging.getLogger(__name__)

# For each action the status it leads to, and those it may start from.
TRANSITIONS: dict[str, tuple[str, frozenset[str]]] = {
    "suspend": ("suspended", frozenset({"active", "maintenance"})),
    "activate": ("active", frozenset({"suspended"})),
    "delete": ("deleted", frozenset({"active", "suspended", "maintenance"})),
    "restore": ("active", frozenset({"deleted"})),
}


class TenantLifecycle:
    """Changes tenants' records, on behalf of an operator."""

    def __init__(self, connections: ConnectionManager, *, transaction_seconds: float) -> None:
        self._connections = connections
        self._transaction_seconds = transaction_seconds

    def change(self, tenant_id: ObjectId, changes: TenantChanges, actor: Actor) -> MongoDocument:
        """Change what `changes` names and return the record.

        Raises NotFound, AlreadyExists with the field that is taken, and Conflict for the
        operators' own tenant, which the platform needs as it is.
        """
        record = self._changeable(tenant_id)
        fields = changes.changes()
        if not fields.get("domains", True):
            fields["domains"] = None
        return self._update(record, actor, "tenant.change", fields, fields=sorted(fields))

    def move(self, tenant_id: ObjectId, action: str, actor: Actor) -> MongoDocument:
        """Do one of TRANSITIONS and return the record; where the tenant is there already, just
        return it. Raises NotFound, and Conflict when the tenant's status does not allow it.

        A restored tenant is as it was before: suspended, if it was.
        """
        record = self._changeable(tenant_id)
        target, starts = TRANSITIONS[action]
        if action == "restore" and "suspendedAt" in record:
            target = "suspended"
        if record["status"] not in starts:
            if record["status"] == target or action == "restore":
                return record
            raise Conflict(f"A tenant that is {record['status']} cannot do this: {action}")
        fields = {"status": target, **_moments(action, utc_now())}
        return self._update(record, actor, f"tenant.{action}", fields)

    def purge(self, tenant_id: ObjectId, confirm: str, actor: Actor) -> dict[str, bool]:
        """Remove a deleted tenant for good; return what was looked for afterwards and is gone.

        Raises NotFound, Conflict when the tenant is not deleted, and ValidationFailed when
        `confirm` is not its name. Removing the records is the point of no return; should the
        process die after it, `multitenant tenants gc` drops the database.
        """
        record = self._changeable(tenant_id)
        if record["status"] != "deleted":
            raise Conflict("Only a deleted tenant can be purged; delete it first")
        if confirm != record["name"]:
            message = "must be the tenant's name"
            raise ValidationFailed(errors=[{"field": "confirm", "message": message}])
        client = self._connections.cluster_client(record["cluster"])
        admin_db, db = self._connections.admin_db, client[record["dbName"]]

        def remove_records() -> None:
            if not tenants.delete_tenant(admin_db, tenant_id, status="deleted"):
                raise Conflict("The tenant was changed meanwhile; look at it again")
            users = tenant_users.delete_tenant_users(admin_db, tenant_id)
            revocations.delete_revocations(admin_db, users)
            idempotency_keys.delete_idempotency_keys(admin_db, tenant_id)
            mark_prepared(db, admin_db.name)
            actor.record(admin_db, "tenant.purge", tenant_id, name=record["name"])

        with widened_scope(db.name):
            run_transaction(client, remove_records, seconds=self._transaction_seconds)
            self._connections.forget(tenant_id)
            drop_prepared(db, admin_db.name)
            logger.info("Purged tenant %s", tenant_id)
            return {
                "tenant": tenants.find_tenant(admin_db, tenant_id) is None,
                "memberships": not tenant_users.has_tenant_users(admin_db, tenant_id),
                "database": not db.list_collection_names(),
            }

    def _changeable(self, tenant_id: ObjectId) -> MongoDocument:
        record = tenants.find_tenant(self._connections.admin_db, tenant_id)
        if record is None:
            raise NotFound("There is no such tenant")
        if record["system"]:
            raise Conflict("The operators' own tenant cannot be changed")
        return record

    def _update(
        self,
        record: MongoDocument,
        actor: Actor,
        action: str,
        changes: dict[str, Any],
        **details: object,
    ) -> MongoDocument:
        """Write the changes and the audit log, unless the status has changed meanwhile."""
        admin_db = self._connections.admin_db

        def write() -> MongoDocument:
            changed = tenants.update_tenant(
                admin_db, record["_id"], status=record["status"], changes=changes
            )
            if changed is None:
                raise Conflict("The tenant was changed meanwhile; look at it again")
            actor.record(admin_db, action, record["_id"], **details)
            return changed

        changed = run_transaction(
            self._connections.admin_client, write, seconds=self._transaction_seconds
        )
        self._connections.forget(record["_id"])
        return changed


def _moments(action: str, now: datetime) -> dict[str, datetime | None]:
    """The times that an action sets or removes."""
    moments: dict[str, dict[str, datetime | None]] = {
        "suspend": {"suspended_at": now},
        "activate": {"suspended_at": None},
        "delete": {"deleted_at": now},
        "restore": {"deleted_at": None},
    }
    return moments[action]
