"""What becomes of a tenant: suspended and activated, deleted and restored, and purged.

Each is done once however often it is asked for, and is in the audit log if and only if it was
done: both are one transaction.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from bson import ObjectId

from multitenant.errors import Conflict, NotFound, ValidationFailed
from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import take_turn
from multitenant.schemas.admin.tenants import TenantChanges
from multitenant.security.field_encryption import EncryptedField, FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.external import (
    check_uri,
    encrypt_uri,
    ensure_usable,
    is_claimed_by,
)
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted
from multitenant.tenancy.lifecycle.maintenance import ensure_not_in_maintenance
from multitenant.tenancy.lifecycle.purging import TENANT_CHANGED, purge_tenant
from multitenant.tenancy.lifecycle.tenant_credentials import TenantCredentials
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.host_names import HostNames

# For each action the status it leads to, and those it may start from.
TRANSITIONS: dict[str, tuple[str, frozenset[str]]] = {
    "suspend": ("suspended", frozenset({"active", "maintenance"})),
    "activate": ("active", frozenset({"suspended", "maintenance"})),
    "delete": ("deleted", frozenset({"active", "suspended", "maintenance"})),
    "restore": ("active", frozenset({"deleted"})),
}


class TenantLifecycle:
    """Changes tenants' records, on behalf of an operator."""

    def __init__(
        self,
        connections: ConnectionManager,
        credentials: TenantCredentials,
        cipher: FieldCipher,
        host_names: HostNames,
        *,
        allowed_hosts: Sequence[str],
        transaction_seconds: float,
    ) -> None:
        """`allowed_hosts` are those that a `dbUri` may lead to."""
        self._connections = connections
        self._credentials = credentials
        self._cipher = cipher
        self._host_names = host_names
        self._allowed_hosts = allowed_hosts
        self._transaction_seconds = transaction_seconds

    def change(self, tenant_id: ObjectId, changes: TenantChanges, actor: Actor) -> MongoDocument:
        """Change what `changes` names and return the record.

        Raises NotFound, AlreadyExists with the field that is taken, Conflict for the operators'
        own tenant, which the platform needs as it is, and, where `changes` names isolation or
        `dbUri`, for one in maintenance; and ValidationFailed for a domain that is the platform's
        own, and for a `dbUri` that does not lead to the tenant's database.
        """
        record = self._changeable(tenant_id)
        fields = changes.changes()
        if fields.get("isolation", record["isolation"]) != record["isolation"] or changes.db_uri:
            ensure_not_in_maintenance(record)
        named = changes.names()
        self._ensure_foreign(changes.domains or [])
        if not fields.get("domains", True):
            fields["domains"] = None
        if changes.db_uri is not None:
            fields["db_uri"] = self._moved_uri(record, changes.db_uri.get_secret_value())
        isolation = fields.pop("isolation", record["isolation"])
        if isolation == record["isolation"]:
            changed = self._update(record, actor, "tenant.change", fields, fields=named)
        else:
            with self._credentials.replaced(record, isolation) as replacement:
                fields |= replacement.changes
                changed = self._update(
                    record,
                    actor,
                    "tenant.change",
                    fields,
                    ensure=replacement.ensure_recent,
                    fields=named,
                )
        self._forget(tenant_id)
        return changed

    def rotate_credentials(self, tenant_id: ObjectId, actor: Actor) -> MongoDocument:
        """Give a dedicated tenant a new MongoDB user; the old one is dropped when nobody uses it
        any more. Return the record.

        Raises NotFound, and Conflict for a tenant that has no MongoDB user of the platform's, or
        is in maintenance: whoever is at work there has read how the database is reached.
        """
        record = self._changeable(tenant_id)
        if record["isolation"] == "shared":
            raise Conflict("A shared tenant has no credentials of its own")
        ensure_not_in_maintenance(record)
        with self._credentials.replaced(record, "dedicated") as replacement:
            changed = self._update(
                record,
                actor,
                "tenant.rotate_credentials",
                replacement.changes,
                ensure=replacement.ensure_recent,
            )
        self._forget(tenant_id)
        return changed

    def move(
        self,
        tenant_id: ObjectId,
        action: str,
        actor: Actor,
        *,
        seen: MongoDocument | None = None,
    ) -> MongoDocument:
        """Do one of TRANSITIONS and return the record; where the tenant is there already, just
        return it. Raises NotFound, and Conflict when the tenant's status does not allow it, or its
        record is another than in `seen`, by which somebody has decided.

        A restored tenant is as it was before: suspended, if it was. What is at work in the tenant
        (a restore, a move, migrations) has lost its maintenance, and is refused at its end.
        """
        record = self._changeable(tenant_id, seen)
        target, starts = TRANSITIONS[action]
        if action == "restore" and "suspendedAt" in record:
            target = "suspended"
        if record["status"] not in starts:
            if record["status"] == target or action == "restore":
                return record
            raise Conflict(f"A tenant that is {record['status']} cannot do this: {action}")
        fields = {"status": target, **_moments(action, utc_now())}
        changed = self._update(record, actor, f"tenant.{action}", fields)
        self._forget(tenant_id)
        return changed

    def purge(
        self,
        tenant_id: ObjectId,
        confirm: str,
        actor: Actor,
        *,
        seen: MongoDocument | None = None,
    ) -> dict[str, bool]:
        """Remove a deleted tenant for good; return what was looked for afterwards and is gone.

        Raises NotFound, Conflict when the tenant is not deleted, or its record is another than in
        `seen`, and ValidationFailed when `confirm` is not its name. Removing the records is the
        point of no return; should the process die after it, `multitenant tenants gc` drops the
        database.
        """
        record = self._changeable(tenant_id, seen)
        if record["status"] != "deleted":
            raise Conflict("Only a deleted tenant can be purged; delete it first")
        if confirm != record["name"]:
            message = "must be the tenant's name"
            raise ValidationFailed(errors=[{"field": "confirm", "message": message}])
        return purge_tenant(
            self._connections, self._cipher, record, actor, seconds=self._transaction_seconds
        )

    def _forget(self, tenant_id: ObjectId) -> None:
        """Make this process read what it knows of the tenant again; others hear of the change."""
        self._connections.forget(tenant_id)
        self._host_names.forget_tenant(tenant_id)

    def _moved_uri(self, record: MongoDocument, uri: str) -> EncryptedField:
        """The encrypted URI, after checking that it leads to the tenant's own database: another
        password, or other host names, but not other data."""
        if record["cluster"] != EXTERNAL_CLUSTER:
            raise Conflict("The tenant lives on the platform's servers; it has no dbUri to change")
        name = check_uri(uri, self._allowed_hosts) or record["dbName"]
        with (
            widened_scope(record["dbName"]),
            self._connections.operator_client(EXTERNAL_CLUSTER, uri) as client,
        ):
            db = client[record["dbName"]]
            ensure_usable(db, self._allowed_hosts)
            if name != record["dbName"] or not is_claimed_by(db, record["_id"]):
                message = "does not lead to this tenant's database"
                raise ValidationFailed(errors=[{"field": "dbUri", "message": message}])
        return encrypt_uri(self._cipher, uri, record["_id"])

    def _ensure_foreign(self, domains: list[str]) -> None:
        """Return if none of them is a name that the platform gives out itself: those are found by
        subdomain, so it would lead nowhere, or to another tenant."""
        message = "belongs to the platform: use `subdomain` for a name below its own"
        errors = [
            {"field": f"domains.{index}", "message": message}
            for index, domain in enumerate(domains)
            if self._host_names.is_own(domain)
        ]
        if errors:
            raise ValidationFailed(errors=errors)

    def _changeable(self, tenant_id: ObjectId, seen: MongoDocument | None = None) -> MongoDocument:
        record = tenants.find_tenant(self._connections.admin_db, tenant_id)
        if record is None:
            raise NotFound("There is no such tenant")
        if record["system"]:
            raise Conflict("The operators' own tenant cannot be changed")
        if seen is not None and not tenants.is_as_seen(record, seen):
            raise Conflict(TENANT_CHANGED)
        return record

    def _update(
        self,
        record: MongoDocument,
        actor: Actor,
        action: str,
        changes: dict[str, Any],
        *,
        ensure: Callable[[], None] = lambda: None,
        **details: Any,
    ) -> MongoDocument:
        """Write the changes and the audit log, unless the status has changed meanwhile, the
        operator may not do this any more, or `ensure` raises."""
        admin_db = self._connections.admin_db

        def write() -> MongoDocument:
            ensure_write_permitted()
            ensure()
            if "user_limit" in changes:
                take_turn(admin_db, record["_id"])  # whoever adds a user does so, too
            changed = tenants.update_tenant(admin_db, record, **changes)
            if changed is None:
                raise Conflict(TENANT_CHANGED)
            actor.record(admin_db, action, record["_id"], **details)
            return changed

        return run_transaction(
            self._connections.admin_client, write, seconds=self._transaction_seconds
        )


def _moments(action: str, now: datetime) -> dict[str, datetime | None]:
    """The times that an action sets or removes."""
    moments: dict[str, dict[str, datetime | None]] = {
        "suspend": {"suspended_at": now, **tenants.NO_MAINTENANCE},
        "activate": {"suspended_at": None, **tenants.NO_MAINTENANCE},
        "delete": {"deleted_at": now, **tenants.NO_MAINTENANCE},
        "restore": {"deleted_at": None},
    }
    return moments[action]
