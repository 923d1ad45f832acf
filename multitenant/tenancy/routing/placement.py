"""How a tenant's database is reached: through which client, with whose credentials."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from bson import ObjectId
from pymongo.errors import ConnectionFailure, OperationFailure

from multitenant.errors import DatabaseUnavailable, DecryptionFailed, DomainError
from multitenant.repositories.error_codes import LOGIN_REFUSED
from multitenant.repositories.error_texts import describe
from multitenant.repositories.model import MongoDatabase
from multitenant.repositories.retries import is_passing
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.clients import ClientFactory, OpenedClient
from multitenant.tenancy.deployments.clusters import (
    DEFAULT_CLUSTER,
    EXPECTED_SERVERS,
    Clusters,
    Hold,
)
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.foreign_servers import answers_understood
from multitenant.tenancy.deployments.waiting_line import WaitingLine
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency, place_of
from multitenant.tenancy.routing.tenant import Tenant

logger = logging.getLogger(__name__)


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
        *,
        on_refused: Callable[[ObjectId], object] = lambda _: None,
    ) -> None:
        """`on_refused` is called when a tenant's client has closed itself, because of what its
        server has said."""
        self._on_refused = on_refused
        self._clusters = clusters
        self._concurrency = concurrency
        self._factory = factory
        self._cipher = cipher

    def connect(self, tenant: Tenant) -> Connection:
        """Return the tenant's database; a dedicated tenant's client has logged in."""
        with _described(tenant):
            if tenant.isolation == "shared":
                hold = self._clusters.hold(tenant.cluster)
                return Connection(hold.client[tenant.db_name], hold=hold)
            own = self._open(tenant)
        database = own.client[tenant.db_name]
        try:
            with answers_understood() if tenant.has_own_server else nullcontext():
                database.command("ping")
            own.settle()
        except BaseException as error:
            own.close()
            if isinstance(error, OperationFailure):
                if error.code in LOGIN_REFUSED:
                    raise CredentialsRefused from error
                if not is_passing(error):  # nothing was asked of the tenant's data yet
                    logger.error("Tenant %s: nobody can connect: %s", tenant.id, describe(error))
                    raise DatabaseUnavailable from error
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
        on_outcome = None
        if tenant.cluster != DEFAULT_CLUSTER:
            on_outcome = partial(self._concurrency.note_outcome, place_of(tenant))
        if uri is not None:
            return self._factory.open_foreign(
                uri,
                on_outcome=on_outcome,
                on_refused=partial(self._on_refused, tenant.id),
                for_requests=True,
            )
        assert tenant.credentials is not None
        user = DatabaseUser.of(tenant.id, tenant.credentials, self._cipher)
        return self._factory.open_dedicated(
            self._clusters.uri(tenant.cluster),
            on_outcome=on_outcome,
            **user.login(tenant.db_name),
        )


@contextmanager
def _described(tenant: Tenant) -> Iterator[None]:
    """Raise DatabaseUnavailable for what the tenant's record, or its cluster's, leads to where it
    cannot be decrypted, or is no URI or user that a client can be made of."""
    try:
        yield
    except (DomainError, ConnectionFailure):
        raise
    except Exception as error:
        said = error if isinstance(error, DecryptionFailed) else type(error).__name__
        logger.error("Tenant %s: its URI or credentials cannot be used: %s", tenant.id, said)
        raise DatabaseUnavailable("The tenant's database cannot be reached") from error
