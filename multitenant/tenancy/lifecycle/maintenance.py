"""Making a tenant refuse requests for a while, in every process.

It is a lease: renewed while the work goes on, and over by itself a minute after a process that was
killed. So whoever ends it with a change to the tenant makes sure, in the same transaction, that it
was never over (see ensure_in_maintenance()).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from pymongo.errors import PyMongoError

from multitenant.errors import Conflict
from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import take_turn
from multitenant.tenancy.lifecycle.tenant_locks import renewing
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

LASTS = timedelta(minutes=1)
MARGIN = timedelta(seconds=20)
"""How much of it must be left when it is relied on: clocks differ."""


@contextmanager
def maintenance(
    connections: ConnectionManager,
    record: MongoDocument,
    *,
    settle_seconds: float,
    transaction_seconds: float,
    read_only: bool = False,
) -> Iterator[tuple[MongoDocument, Callable[[], None]]]:
    """Keep the tenant in maintenance during the block, which has the tenant's lock. Yield the
    tenant's record as it is then, and a function that waits until every process, at the latest
    `settle_seconds` after the beginning, refuses the tenant. A suspended tenant stays suspended.
    With `read_only` the tenant may be read meanwhile.

    When the block has not ended the maintenance (by a change of the record), it is ended here.
    Raises Conflict for a tenant that is deleted, or in a maintenance of somebody else's.
    """
    admin_db, tenant_id = connections.admin_db, record["_id"]

    def begin() -> MongoDocument:
        take_turn(admin_db, tenant_id)  # no change to its users is half way: see write_both()
        current = tenants.find_tenant(admin_db, tenant_id)
        if current is None or current["status"] == "deleted":
            raise Conflict("The tenant is deleted: restore it first (POST …/restore)")
        if current["status"] == "suspended":
            return current
        until = current.get("maintenanceUntil", None)
        if current["status"] == "maintenance" and (until is None or until > utc_now()):
            raise Conflict("The tenant is in maintenance already")
        begun = tenants.update_tenant(
            admin_db,
            current,
            status="maintenance",
            maintenance_until=utc_now() + LASTS,
            read_only=read_only or None,
        )
        assert begun is not None  # read in this transaction
        return begun

    def renew() -> None:
        tenants.extend_maintenance(admin_db, tenant_id, utc_now() + LASTS)

    begun = run_transaction(connections.admin_client, begin, seconds=transaction_seconds)
    connections.forget(tenant_id)
    settled_at = time.monotonic() + settle_seconds

    def settle() -> None:
        time.sleep(max(0.0, settled_at - time.monotonic()))

    if begun["status"] == "suspended":
        yield begun, settle
        return
    try:
        with renewing(renew, LASTS.total_seconds() / 4):
            yield begun, settle
    finally:
        try:
            end_maintenance(admin_db, begun)
        except PyMongoError as error:  # it ends by itself
            logger.warning("The maintenance of %s goes on: %s", tenant_id, type(error).__name__)
        connections.forget(tenant_id)


def end_maintenance(admin_db: MongoDatabase, record: MongoDocument) -> None:
    """Let the tenant work again, if what decides about it is as in `record`."""
    tenants.update_tenant(admin_db, record, status="active", maintenance_until=None, read_only=None)


def ensure_in_maintenance(admin_db: MongoDatabase, record: MongoDocument) -> None:
    """Return if the tenant still refuses requests, as it did when `record` was read, and has
    since. To be called in the transaction that relies on it. Raises Conflict."""
    current = tenants.find_tenant(admin_db, record["_id"])
    same = ("status", "suspendedAt")  # one that was activated and suspended again was served
    if current is None or any(current.get(name) != record.get(name) for name in same):
        raise Conflict("The tenant was changed meanwhile; look at it again")
    until = current.get("maintenanceUntil")
    if current["status"] == "maintenance" and until and until < utc_now() + MARGIN:
        raise Conflict("The maintenance was over too early; try again")
