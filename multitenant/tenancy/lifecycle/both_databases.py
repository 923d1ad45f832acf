"""Changes that concern a tenant's database and the admin database alike."""

from collections.abc import Callable
from typing import TypeVar

from multitenant.errors import TenantMaintenance, TokenRevoked
from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDatabase
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import take_turn
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.tenant import Tenant

T = TypeVar("T")


def write_both(
    connections: ConnectionManager,
    tenant: Tenant,
    db: MongoDatabase,
    *,
    in_tenant: Callable[[MongoDatabase], T],
    in_admin: Callable[[], None],
    seconds: float,
    admin_first: bool = False,
) -> T:
    """Run both functions and return what `in_tenant` returns; what either raises undoes both.

    On the admin database's cluster this is one transaction, on the cluster's own client. A
    tenant on another cluster takes one for each side, since none can span two deployments. What
    the first has done then stays when the second fails or the process ends between them, so the
    caller chooses the order whose half does no harm: a membership without its user opens
    nothing, and a user whose tokens are void in their own database gets no new ones.

    Raises TenantMaintenance when the tenant has moved to another database meanwhile, or is about
    to, what Tenant.ensure_usable() raises when it may not work any more, unless its own side is
    committed already, and what ensure_write_permitted() raises, before anything is done.
    """
    ensure_write_permitted()
    tenant_first = tenant.cluster != DEFAULT_CLUSTER and not admin_first

    def in_admin_there() -> None:
        _ensure_lives_there(connections.admin_db, tenant, may_be_closed=tenant_first)
        in_admin()

    if tenant.cluster == DEFAULT_CLUSTER:
        client = connections.admin_client

        def both() -> T:
            result = in_tenant(client[tenant.db_name])
            in_admin_there()
            return result

        return run_transaction(client, both, seconds=seconds)

    if admin_first:
        run_transaction(connections.admin_client, in_admin_there, seconds=seconds)
    result = run_transaction(db.client, lambda: in_tenant(db), seconds=seconds)
    if not admin_first:
        run_transaction(connections.admin_client, in_admin_there, seconds=seconds)
    return result


def _ensure_lives_there(admin_db: MongoDatabase, tenant: Tenant, *, may_be_closed: bool) -> None:
    """Return if the tenant's database is still the one that this request was given, and the tenant
    may work (or `may_be_closed`, suspended or deleted). Whoever changes that takes this turn, too,
    so it holds until the transaction commits."""
    take_turn(admin_db, tenant.id)
    record = tenants.find_tenant(admin_db, tenant.id)
    if record is None:
        raise TokenRevoked("The tenant of this token no longer exists")
    current = Tenant.of(record)
    if (current.db_name, current.cluster) != (tenant.db_name, tenant.cluster):
        raise TenantMaintenance("This tenant has just moved; try again", retry_after=1)
    if current.status == "maintenance" or not may_be_closed:
        current.ensure_usable()
