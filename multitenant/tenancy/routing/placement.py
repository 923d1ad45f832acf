"""How a tenant's database is reached: through which client, with whose credentials."""

from dataclasses import dataclass
from typing import Protocol

from pymongo.errors import OperationFailure

from multitenant.repositories.error_codes import LOGIN_REFUSED
from multitenant.repositories.model import MongoDatabase
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.clients import ClientFactory, OpenedClient
from multitenant.tenancy.deployments.clusters import EXPECTED_SERVERS, Clusters, Hold
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.waiting_line import WaitingLine
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency
from multitenant.tenancy.routing.tenant import Tenant


class CredentialsRefused(Exception):
    """Raised when MongoDB refuses what the tenant's record said: it has been replaced meanwhile,
    or the owner of the server has changed it."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A tenant's database, and what is to be closed when nobody needs it any more: the client that
    exists for it alone, or the hold on its cluster's."""

    database: MongoDatabase
    own: OpenedClient | None = None
    hold: Hold | None = None

    @property
    def line(self) -> WaitingLine | None:
        """Where requests wait for one of the client's connections."""
        holder = self.own or self.hold
        return holder.line if holder else None


class Placement(Protocol):
    """Decides how a tenant's database is reached."""

    def connect(self, tenant: Tenant) -> Connection:
        """Return the tenant's database, behind a client that works. Raises CredentialsRefused,
        and PyMongo's errors."""

    def sockets(self, tenant: Tenant) -> int:
        """How many sockets a client of the tenant's own may open; 0 where it needs none."""


class TenantPlacement:
    """Shared tenants on their cluster's one client, dedicated ones on a client of their own."""

    def __init__(
        self,
        clusters: Clusters,
        factory: ClientFactory,
        cipher: FieldCipher,
        concurrency: ClusterConcurrency,
    ) -> None:
        self._clusters = clusters
        self._concurrency = concurrency
        self._factory = factory
        self._cipher = cipher

    def connect(self, tenant: Tenant) -> Connection:
        """Return the tenant's database; a dedicated tenant's client has logged in."""
        if tenant.isolation == "shared":
            hold = self._clusters.hold(tenant.cluster)
            return Connection(hold.client[tenant.db_name], hold=hold)
        own = self._open(tenant)
        database = own.client[tenant.db_name]
        try:
            with self._concurrency.entered(tenant.cluster):
                database.command("ping")
        except BaseException as error:
            own.close()
            if isinstance(error, OperationFailure) and error.code in LOGIN_REFUSED:
                raise CredentialsRefused from error
            raise
        return Connection(database, own)

    def sockets(self, tenant: Tenant) -> int:
        """What a dedicated tenant's client may open to all servers of its deployment."""
        if tenant.isolation == "shared":
            return 0
        if tenant.db_uri is None:
            return self._factory.dedicated_limit(self._clusters.servers(tenant.cluster))
        return self._factory.dedicated_limit(EXPECTED_SERVERS)

    def _open(self, tenant: Tenant) -> OpenedClient:
        uri = decrypt_uri(self._cipher, tenant.db_uri, tenant.id)
        if uri is not None:
            return self._factory.open_dedicated(uri)
        assert tenant.credentials is not None
        user = DatabaseUser.of(tenant.id, tenant.credentials, self._cipher)
        return self._factory.open_dedicated(
            self._clusters.uri(tenant.cluster),
            **user.login(tenant.db_name),
        )
