"""Every way to a database in this process: the admin database, and tenants by lease."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pymongo
from bson import ObjectId

from multitenant.config import Settings
from multitenant.repositories.admin.tenants import find_tenant
from multitenant.repositories.model import MongoDatabase
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.clients import Client, ClientFactory, OpenedClient
from multitenant.tenancy.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER, Clusters
from multitenant.tenancy.database_users import DatabaseUser
from multitenant.tenancy.leases import Lease
from multitenant.tenancy.placement import Placement, TenantPlacement
from multitenant.tenancy.recent_answers import Vouches, nobody_vouches
from multitenant.tenancy.tenant import Tenant
from multitenant.tenancy.tenant_cache import OwnClient, TenantCache


class ConnectionManager:
    """Owns all clients of the process. Nothing is opened before it is first used, so it may be
    built before a fork and used after it."""

    def __init__(
        self,
        settings: Settings,
        factory: ClientFactory,
        cipher: FieldCipher,
        *,
        placement: Placement | None = None,
        vouches: Vouches = nobody_vouches,
        on_dedicated: Callable[[], None] = lambda: None,
    ) -> None:
        """`placement` decides how tenants are reached; by default as their records say.
        `vouches` tells what the tenant cache need not read again. `on_dedicated` is called when
        a tenant is leased whose client close_idle() will have to look after."""
        self._admin_db_name = settings.admin_db_name
        self._budget = settings.connection_budget
        self._factory = factory
        self._on_dedicated = on_dedicated
        self._clusters = Clusters(
            {DEFAULT_CLUSTER: settings.admin_db_uri.get_secret_value()}, factory
        )
        self._tenants = TenantCache(
            self._load,
            placement or TenantPlacement(self._clusters, factory, cipher),
            size=settings.tenant_cache_size,
            seconds=settings.tenant_cache_seconds,
            stale_seconds=settings.tenant_stale_seconds,
            vouches=vouches,
            room=self._room,
            idle_seconds=settings.dedicated_idle_seconds,
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
        """The cluster's own client, which may write to every tenant database there."""
        return self._clusters.client(cluster)

    def cluster_names(self) -> list[str]:
        """The clusters that tenants may live on."""
        return list(self._clusters.uris)

    @contextmanager
    def operator_client(self, cluster: str, uri: str | None) -> Iterator[Client]:
        """Yield a client with all the rights that the platform has where a tenant lives: its
        cluster's, or one to the tenant's own `uri`, which is closed at the end."""
        if cluster != EXTERNAL_CLUSTER:
            yield self.cluster_client(cluster)
            return
        assert uri is not None
        opened = self._factory.open_dedicated(uri)
        try:
            yield opened.client
        finally:
            opened.close()

    @contextmanager
    def user_client(self, cluster: str, db_name: str, user: DatabaseUser) -> Iterator[Client]:
        """Yield a client that logs in as this user of that database, and close it at the end."""
        opened = self._factory.open_dedicated(self._clusters.uris[cluster], **user.login(db_name))
        try:
            yield opened.client
        finally:
            opened.close()

    def lease(self, tenant_id: ObjectId) -> Lease:
        """Lease the tenant's database; see TenantCache.lease()."""
        lease = self._tenants.lease(tenant_id)
        if lease.tenant.isolation == "dedicated":
            try:
                self._on_dedicated()
            except BaseException:
                lease.release()
                raise
        return lease

    def forget(self, tenant_id: ObjectId) -> None:
        """Make this process read the tenant's record again before its next use."""
        self._tenants.forget(tenant_id)

    def evict(self, tenant_id: ObjectId) -> bool:
        """Take the tenant out of this process's cache; return whether it is out."""
        return self._tenants.evict(tenant_id)

    def forget_all(self) -> None:
        """Make this process read every tenant's record again before its next use."""
        self._tenants.forget_all()

    def close_idle(self) -> None:
        """Close the clients of dedicated tenants that nobody has used for a while."""
        self._tenants.close_idle()

    def stats(self) -> dict[str, int]:
        """The cache's counts, and `clients`: all that are open in this process."""
        stats = self._tenants.stats()
        return {**stats, "clients": stats["clients"] + len(self.cluster_clients())}

    def cluster_clients(self) -> dict[str, OpenedClient]:
        """The clients of clusters that are open."""
        return self._clusters.opened()

    def own_clients(self) -> list[OwnClient]:
        """The clients of dedicated tenants that are open, least recently used first."""
        return self._tenants.own_clients()

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

    def _room(self) -> int:
        """How many sockets are left for dedicated tenants, when the clusters use all of theirs."""
        return self._budget - sum(opened.limit for opened in self.cluster_clients().values())


def ping(db: MongoDatabase, seconds: float) -> None:
    """Return if the database answers in time; otherwise raise PyMongo's error."""
    with pymongo.timeout(seconds):
        db.command("ping")
