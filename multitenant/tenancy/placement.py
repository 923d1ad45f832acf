"""Where tenant databases live: clusters, their clients, and which one serves a tenant."""

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pymongo import MongoClient
from pymongo.monitoring import CommandListener

from multitenant.config import Settings
from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.tenancy.tenant import Tenant

Client = MongoClient[MongoDocument]
OpenClient = Callable[[str], Client]

DEFAULT_CLUSTER = "default"
"""The cluster of the admin database."""


@dataclass(frozen=True, slots=True)
class Connection:
    """A tenant's database, and the client that exists for it alone, if there is one."""

    database: MongoDatabase
    own_client: Client | None = None


class Placement(Protocol):
    """Decides how a tenant's database is reached."""

    def connect(self, tenant: Tenant) -> Connection:
        """Return the tenant's database. Opens no socket by itself."""


class Clusters:
    """One client for each cluster in this process, opened when first used."""

    def __init__(self, uris: dict[str, str], open_client: OpenClient) -> None:
        self._uris = uris
        self._open_client = open_client
        self._clients: dict[str, Client] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    def client(self, cluster: str) -> Client:
        """Return this process's client of the cluster; raises KeyError for an unknown one, and
        DatabaseUnavailable after close()."""
        client = self._clients.get(cluster)
        if client is None or os.getpid() != self._process:
            with self._lock:
                self._refuse_inherited()
                if self._closed:
                    raise DatabaseUnavailable("The server is shutting down", retry_after=1)
                client = self._clients.get(cluster)
                if client is None:
                    client = self._clients[cluster] = self._open_client(self._uris[cluster])
        return client

    def __len__(self) -> int:
        """How many clients are open."""
        return len(self._clients)

    def close(self) -> None:
        """Close every client, for good."""
        with self._lock:
            self._closed = True
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _refuse_inherited(self) -> None:
        """A client must not cross a fork: parent and child would share its sockets and locks."""
        if os.getpid() == self._process:
            return
        if self._clients:
            raise RuntimeError("A MongoClient was opened before this process was forked")
        self._process = os.getpid()


class SharedPlacement:
    """Every tenant database through its cluster's one client."""

    def __init__(self, clusters: Clusters) -> None:
        self._clusters = clusters

    def connect(self, tenant: Tenant) -> Connection:
        """Return the tenant's database on the shared client."""
        return Connection(self._clusters.client(tenant.cluster)[tenant.db_name])


def client_opener(settings: Settings, listeners: Sequence[CommandListener] = ()) -> OpenClient:
    """Return the function that opens this application's clients: bounded, and with a time limit
    on every operation."""
    options: dict[str, Any] = {
        "appname": "multitenant",
        "tz_aware": True,
        "maxPoolSize": settings.max_pool_size,
        "maxIdleTimeMS": 60_000,
        "timeoutMS": settings.operation_timeout_ms,
        "event_listeners": list(listeners),
    }
    return lambda uri: MongoClient(uri, **options)
