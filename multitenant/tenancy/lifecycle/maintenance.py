"""Making a tenant refuse requests for a while, in every process.

Maintenance is a lease: the run of a command that began it renews it while it works, and it
expires a minute after a process that was killed. Its holder is in the tenant's record. Only the
holder may extend it, and only while it has not expired. A process that serves the tenant after
that ends it first, in the record. So whoever changes the tenant at the end of a maintenance sees
in the same transaction whether the tenant was served meanwhile (see ensure_in_maintenance() and
ADR 32).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from uuid import uuid4

from multitenant.errors import Conflict
from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import take_turn
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.tenant_locks import renewing
from multitenant.tenancy.routing.connection_manager import ConnectionManager

LASTS = timedelta(minutes=1)
PLACED = ("cluster", "dbName", "isolation")
"""What whoever begins a maintenance has looked at before."""
REFUSED = ("status", "suspendedAt", "deletedAt", "maintenanceHolder")
"""What shows whether a tenant has refused requests all the time."""
SERVED = "The tenant was changed meanwhile, or its maintenance was over too early; try again"


@contextmanager
def maintenance(
    connections: ConnectionManager,
    record: MongoDocument,
    *,
    transaction_seconds: float,
    read_only: bool = False,
) -> Iterator[MongoDocument]:
    """Keep the tenant in maintenance during the block, which has the tenant's lock, and yield the
    tenant's record as it is then. Processes hear of it; that they have, and have ended what they
    began before, a handshake tells (handshakes.py). A suspended tenant stays suspended. With
    `read_only` the tenant may be read meanwhile.

    When the block has not ended the maintenance (by a change of the record), it is ended here.
    Raises Conflict for a tenant that is deleted, has another database than in `record` by now, or
    is in a maintenance of somebody else's.
    """
    admin_db, tenant_id, holder = connections.admin_db, record["_id"], uuid4().hex

    def begin() -> MongoDocument:
        take_turn(admin_db, tenant_id)  # no change to its users is half way: see write_both()
        current = tenants.find_tenant(admin_db, tenant_id)
        if current is None or current["status"] == "deleted":
            raise Conflict("The tenant is deleted: restore it first (POST …/restore)")
        if any(current[name] != record[name] for name in PLACED):
            raise Conflict("The tenant has another database by now; look at it again")
        if current["status"] == "suspended":
            return current
        ensure_not_in_maintenance(current)
        begun = tenants.update_tenant(
            admin_db,
            current,
            status="maintenance",
            maintenance_until=utc_now() + LASTS,
            maintenance_holder=holder,
            read_only=read_only or None,
        )
        assert begun is not None  # read in this transaction
        return begun

    def renew() -> None:
        if not tenants.extend_maintenance(admin_db, tenant_id, holder=holder, lasts=LASTS):
            raise Conflict(SERVED)

    begun = run_transaction(connections.admin_client, begin, seconds=transaction_seconds)
    connections.forget(tenant_id)

    if begun["status"] == "suspended":
        yield begun
        return
    try:
        with renewing(renew, LASTS.total_seconds() / 4):
            yield begun
    finally:
        with contained(f"The maintenance of {tenant_id} goes on"):  # until it expires
            end_maintenance(admin_db, begun)
        connections.forget(tenant_id)


def end_maintenance(admin_db: MongoDatabase, begun: MongoDocument) -> None:
    """Let the tenant work again, if it is still in the maintenance that `begun` is the record of,
    whatever else was changed since; not when it has another database, which some do not know of."""
    tenants.end_maintenance(admin_db, begun)


def ensure_in_maintenance(admin_db: MongoDatabase, begun: MongoDocument) -> None:
    """Return if the tenant has refused requests since `begun` was read. In a transaction that
    changes the tenant's record this holds until the commit: who serves the tenant again, changes
    the record first. Raises Conflict."""
    current = tenants.find_tenant(admin_db, begun["_id"])
    if current is None or any(current.get(name) != begun.get(name) for name in REFUSED):
        raise Conflict(SERVED)
    if begun["status"] == "maintenance" and not tenants.is_in_maintenance(
        admin_db, begun["_id"], holder=begun["maintenanceHolder"]
    ):
        raise Conflict(SERVED)


def ensure_not_in_maintenance(record: MongoDocument) -> None:
    """Return if the tenant is in no maintenance, or in one that has expired. Raises Conflict."""
    until = record.get("maintenanceUntil")
    if record["status"] == "maintenance" and (until is None or until > utc_now()):
        raise Conflict("The tenant is in maintenance already: wait until that is over")
