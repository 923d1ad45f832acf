"""Every way to a database in this process: the admin database, and tenants by lease."""

import pymongo
from bson import ObjectId

from multitenant.config import Settings
from multitenant.repositories.admin.tenants import find_tenant
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.placement import (
    DEFAULT_CLUSTER,
    Client,
    Clusters,
    OpenClient,
    Placement,
    SharedPlacement,
)
from multitenant.tenancy.recent_answers import Vouches, nobody_vouches
from multitenant.tenancy.tenant import Tenant
from multitenant.tenancy.tenant_cache import Lease, TenantCache


class ConnectionManager:
    """Owns all clients of the process. Nothing is opened before it is first used, so it may be
    built before a fork and used after it."""

    def __init__(
        self,
        settings: Settings,
        open_client: OpenClient,
        *,
        placement: Placement | None = None,
        vouches: Vouches = nobody_vouches,
    ) -> None:
        """`placement` decides how tenants are reached; by default through shared clients.
        `vouches` tells what the tenant cache need not read again."""
        self._admin_db_name = settings.admin_db_name
        self._clusters = Clusters(
            {DEFAULT_CLUSTER: settings.admin_db_uri.get_secret_value()}, open_client
        )
        self._placement = placement or SharedPlacement(self._clusters)
        self._tenants = TenantCache(
            self._load,
            self._placement.connect,
            size=settings.tenant_cache_size,
            seconds=settings.tenant_cache_seconds,
            stale_seconds=settings.tenant_stale_seconds,
            vouches=vouches,
        )

    @property
    def admin_db(self) -> MongoDatabase:
        """The admin database."""
        return self.admin_client[self._admin_db_name]

    @property
    def admin_client(self) -> Client:
        """The client of the admin database's cluster."""
        return self.cluster_client(DEFAULT_CLUSTER)

    def cluster_client(self, cluster: str) -> Client:
        """The cluster's own client, which may write to every shared tenant database there."""
        return self._clusters.client(cluster)

    def lease(self, tenant_id: ObjectId) -> Lease:
        """Lease the tenant's database; see TenantCache.lease()."""
        return self._tenants.lease(tenant_id)

    def forget(self, tenant_id: ObjectId) -> None:
        """Make this process read the tenant's record again before its next use."""
        self._tenants.forget(tenant_id)

    def forget_all(self) -> None:
        """Make this process read every tenant's record again before its next use."""
        self._tenants.forget_all()

    def stats(self) -> dict[str, int]:
        """The cache's counts, and `clients`: all that are open in this process."""
        stats = self._tenants.stats()
        return {**stats, "clients": stats["clients"] + len(self._clusters)}

    def close(self, timeout: float) -> bool:
        """Refuse new leases, wait up to `timeout` seconds for the others, close every client.

        Return whether all leases were given back. May be called again.
        """
        quiet = self._tenants.close(timeout)
        self._clusters.close()
        return quiet

    def _load(self, tenant_id: ObjectId) -> Tenant | None:
        record = find_tenant(self.admin_db, tenant_id)
        return Tenant.of(record) if record else None


def ping(db: MongoDatabase, seconds: float) -> None:
    """Return if the database answers in time; otherwise raise PyMongo's error."""
    with pymongo.timeout(seconds):
        db.command("ping")
