"""Changes that concern a tenant's database and the admin database alike."""

from collections.abc import Callable
from typing import TypeVar

from multitenant.repositories.model import MongoDatabase
from multitenant.repositories.transactions import run_transaction
from multitenant.tenancy.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.tenant import Tenant

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
    """
    if tenant.cluster == DEFAULT_CLUSTER:
        client = connections.admin_client

        def both() -> T:
            result = in_tenant(client[tenant.db_name])
            in_admin()
            return result

        return run_transaction(client, both, seconds=seconds)

    if admin_first:
        run_transaction(connections.admin_client, in_admin, seconds=seconds)
    result = run_transaction(db.client, lambda: in_tenant(db), seconds=seconds)
    if not admin_first:
        run_transaction(connections.admin_client, in_admin, seconds=seconds)
    return result
