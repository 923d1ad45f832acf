"""Every way to a database in this process: the admin database, and tenants by lease."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bson import ObjectId

from multitenant.clock import CLOCK
from multitenant.config import Settings
from multitenant.errors import (
    DamagedRecord,
    DatabaseLost,
    DatabaseUnavailable,
    TokenRevoked,
)
from multitenant.repositories.admin.clusters import find_cluster, find_clusters
from multitenant.repositories.admin.tenants import end_expired_maintenance, find_tenant
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.background import Background
from multitenant.tenancy.deployments.clients import Client, ClientFactory, OpenedClient
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER, Clusters
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.deployments.foreign_servers import answers_understood
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import contained
from multitenant.tenancy.identity import ensure_own_database
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency, place_of
from multitenant.tenancy.routing.lease_generations import LeaseGenerations
from multitenant.tenancy.routing.leases import NEVER, Entry, Lease
from multitenant.tenancy.routing.placement import Placement, TenantPlacement
from multitenant.tenancy.routing.presence import Presence
from multitenant.tenancy.routing.recent_answers import (
    AsOf,
    Vouches,
    at_present,
    nobody_vouches,
)
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.routing.tenant_cache import OwnClient, TenantCache

logger = logging.getLogger(__name__)

URI_FIELD = "uri"
NOT_AS_MADE = "The tenant's database or record is damaged; operators have to look at it"
LOST_RETRY_SECONDS = 30


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
        as_of: AsOf = at_present,
        watch: Callable[[], None] = lambda: None,
    ) -> None:
        """`placement` decides how tenants are reached; by default as their records say.
        `vouches` tells what the tenant cache need not read again, and `as_of` how new it is what it
        reads now. `watch` is called when a tenant is leased whose client will have to be looked
        after (its own, or its cluster's), and when others have to be answered."""
        self._generations = LeaseGenerations()
        self.presence = Presence(lambda: self.admin_db, self._generations, watch)
        """Through which other processes make sure of what this one knows."""
        self._admin_db_name = settings.admin_db_name
        self._budget = settings.connection_budget
        self._factory = factory
        self._watch = watch
        self._as_of = as_of
        self._cipher = cipher
        self._clusters = Clusters(
            settings.admin_db_uri.get_secret_value(),
            self._find_uri,
            factory,
            find_uris=self._find_uris,
            room_for=lambda sockets: self._tenants.room_for(sockets),
            on_outcome=lambda place, answered: self._concurrency.note_outcome(place, answered),
        )
        self._refreshing = Background("cluster-refresh", self.refresh_clusters)
        self.clusters_are_old = False
        """Whether refresh_clusters() could not read them the last time."""
        self._concurrency = ClusterConcurrency(
            settings.max_waiting_for_a_cluster,
            self._clusters.lacks_primary,
            limit_of_silent=settings.max_waiting_for_a_cluster,
        )
        self._tenants = TenantCache(
            self._load,
            placement
            or TenantPlacement(
                self._clusters,
                factory,
                cipher,
                self._concurrency,
                on_refused=lambda tenant_id: self._tenants.evict(tenant_id),
            ),
            size=settings.tenant_cache_size,
            seconds=settings.tenant_cache_seconds,
            stale_seconds=settings.tenant_stale_seconds,
            vouches=vouches,
            as_of=as_of,
            room=self._room,
            idle_seconds=settings.dedicated_idle_seconds,
            waiting=lambda tenant: self._concurrency.entered(place_of(tenant)),
        )

    @property
    def admin_db(self) -> MongoDatabase:
        """The admin database."""
        return self.admin_client[self._admin_db_name]

    def now(self) -> float:
        """The present time, in seconds since the epoch, by the admin database's clock, which is
        asked for it the first time. Raises PyMongo's errors."""
        if not CLOCK.is_set:
            self.presence.ensure()
        return CLOCK.now()

    @property
    def admin_client(self) -> Client:
        """The client of the admin database's cluster, which may write to every tenant database
        there as well."""
        return self._clusters.default

    @contextmanager
    def operator_client(self, cluster: str, uri: str | None = None) -> Iterator[Client]:
        """Yield a client with all the rights that the platform has where a tenant lives: its
        cluster's, which stays open until the end, or one to the tenant's own `uri`, which is
        closed then. Raises DatabaseUnavailable for a cluster that is not there."""
        if cluster != EXTERNAL_CLUSTER:
            with self._clusters.held(cluster) as client:
                yield client
            return
        assert uri is not None
        opened = self._factory.open_foreign(uri)
        try:
            with answers_understood():
                yield opened.client
        finally:
            opened.close()

    @contextmanager
    def user_client(self, cluster: str, db_name: str, user: DatabaseUser) -> Iterator[Client]:
        """Yield a client that logs in as this user of that database, and close it at the end."""
        opened = self._factory.open_dedicated(self._clusters.uri(cluster), **user.login(db_name))
        try:
            yield opened.client
        finally:
            opened.close()

    def lease(self, tenant_id: ObjectId) -> Lease:
        """Lease the tenant's database; see TenantCache.lease(). Raises DatabaseUnavailable also
        when enough wait for the tenant's cluster already, which does not answer."""
        self.presence.ensure()
        generation = self._generations.enter(tenant_id)
        try:
            lease = self._tenants.lease(tenant_id)
        except BaseException:
            self._generations.leave(generation)
            raise
        lease.on_release(lambda: self._generations.leave(generation))
        lease.identify_with(self._identify)
        place = place_of(lease.tenant)
        try:
            entered_at = self._concurrency.enter(place)
            lease.on_release(lambda: self._concurrency.leave(place, entered_at))
            if lease.tenant.isolation == "dedicated" or place != DEFAULT_CLUSTER:
                self._watch()
        except BaseException:
            lease.release()
            raise
        return lease

    def current_tenant(self, tenant_id: ObjectId) -> Tenant:
        """Return the tenant as a request that begins now would get it. Raises as
        TenantCache.lease() does."""
        with self._tenants.lease(tenant_id) as lease:
            return lease.tenant

    def read_tenant(self, tenant_id: ObjectId) -> Tenant:
        """Read the tenant's record, as it is at this moment, from a server that is known to be the
        primary. Raises TokenRevoked when there is none (only tokens lead here), PyMongo's errors
        and DatabaseUnavailable."""
        self._as_of()
        tenant = self._load(tenant_id)
        if tenant is None:
            raise TokenRevoked("The tenant of this token no longer exists")
        return tenant

    def is_troubled(self, cluster: str) -> bool:
        """Whether the cluster is known to this process for not answering."""
        return self._concurrency.is_troubled(cluster)

    def refresh_clusters_soon(self) -> None:
        """Do refresh_clusters() in the background."""
        if self._clusters.note_change():
            self._refreshing.wake()

    def refresh_clusters(self) -> None:
        """Where another URI leads to a cluster now, give everybody a new client; the old one is
        closed when nobody uses it any more. Raises PyMongo's errors, and has to be done again then:
        see `clusters_are_old`."""
        try:
            changed = self._clusters.refresh()
        except Exception:
            self.clusters_are_old = True
            raise
        self.clusters_are_old = False
        for cluster in changed:
            self._concurrency.note_closed(cluster)
            self._tenants.drop_cluster(cluster)

    def close_idle_clusters(self) -> None:
        """Close the clients of clusters that nobody has used for a while."""
        for cluster in self._clusters.give_up_idle():
            self._concurrency.note_closed(cluster)
            self._tenants.drop_cluster(cluster, own_clients=False)

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

    def cluster_clients(self) -> list[tuple[str, OpenedClient]]:
        """The clients of clusters that are open, each with the cluster's name; while one is being
        replaced there are two."""
        return self._clusters.opened()

    def cluster_leases(self) -> dict[str, int]:
        """How many leases there are at this moment, by cluster."""
        return self._concurrency.counts()

    def own_clients(self) -> list[OwnClient]:
        """The clients of dedicated tenants that are open, least recently used first."""
        return self._tenants.own_clients()

    def close(self, timeout: float) -> bool:
        """Refuse new leases, wait up to `timeout` seconds for the others, close every client.

        Return whether all leases were given back. May be called again.
        """
        self._refreshing.stop()
        quiet = self._tenants.close(timeout)
        if quiet:
            self.presence.leave()
        self._clusters.close()
        return quiet

    def _load(self, tenant_id: ObjectId) -> Tenant | None:
        """Read the tenant's record. A maintenance that has expired is ended there before the tenant
        is served: then whoever has begun it, and stood still since, cannot go on with it."""
        try:
            record = find_tenant(self.admin_db, tenant_id)
            if record and Tenant.of(record).has_expired_maintenance:
                ended = end_expired_maintenance(self.admin_db, record)
                record = ended or find_tenant(self.admin_db, tenant_id)
        except DamagedRecord as error:
            logger.error("%s", error)
            raise DatabaseUnavailable(NOT_AS_MADE, retry_after=LOST_RETRY_SECONDS) from error
        return Tenant.of(record) if record else None

    def _identify(self, entry: Entry, seconds: float) -> None:
        """See that the entry's database was found to be the tenant's in the last `seconds`."""
        asked_at = time.monotonic()
        if asked_at - entry.identified_at <= seconds:
            return
        database = entry.connection.database
        try:
            with widened_scope(database.name):
                ensure_own_database(self.admin_db, database, entry.tenant.id)
        except DatabaseLost as error:
            entry.identified_at = NEVER  # for those who only read, too
            logger.error("%s", error)
            raise DatabaseUnavailable(NOT_AS_MADE, retry_after=LOST_RETRY_SECONDS) from error
        entry.identified_at = asked_at

    def _room(self) -> int:
        """How many sockets are left for dedicated tenants, when the clusters use all of theirs."""
        return self._budget - sum(opened.limit for _, opened in self.cluster_clients())

    def _find_uri(self, cluster: str) -> str | None:
        return self._uri_of(find_cluster(self.admin_db, cluster))

    def _find_uris(self, clusters: list[str]) -> dict[str, str | None]:
        records = {record["_id"]: record for record in find_clusters(self.admin_db, clusters)}
        found = {}
        for cluster in clusters:
            with contained(f"The URI of cluster {cluster} cannot be read"):
                found[cluster] = self._uri_of(records.get(cluster))
        return found

    def _uri_of(self, record: MongoDocument | None) -> str | None:
        if record is None or record["state"] == "closed" or URI_FIELD not in record:
            return None
        return decrypt_cluster_uri(self._cipher, record)


def decrypt_cluster_uri(cipher: FieldCipher, record: MongoDocument) -> str:
    """Return the URI of a cluster's record. Raises DecryptionFailed."""
    return cipher.decrypt(record[URI_FIELD], record_id=record["_id"], field=URI_FIELD)
