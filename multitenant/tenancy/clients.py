"""Opening MongoClients, and knowing how many sockets each has and may have."""

import threading
from collections.abc import Sequence
from typing import Any

from pymongo import MongoClient
from pymongo.monitoring import (
    CommandListener,
    ConnectionCheckedInEvent,
    ConnectionCheckedOutEvent,
    ConnectionCheckOutFailedEvent,
    ConnectionCheckOutStartedEvent,
    ConnectionClosedEvent,
    ConnectionCreatedEvent,
    ConnectionPoolListener,
    ConnectionReadyEvent,
    PoolClearedEvent,
    PoolClosedEvent,
    PoolCreatedEvent,
    PoolReadyEvent,
)

from multitenant.config import MONITORING_SOCKETS_PER_CLIENT, Settings
from multitenant.repositories.model import MongoDocument

Client = MongoClient[MongoDocument]

SHARED_IDLE_MS = 60_000
DEDICATED_IDLE_MS = 30_000


class OpenedClient:
    """A MongoClient with its sockets: those of its pool, which are counted as they come and go,
    and those that watch each server of the deployment."""

    def __init__(
        self, uri: str, *, pool_size: int, monitoring_per_server: int, **options: Any
    ) -> None:
        self.pool_size = pool_size
        self._monitoring_per_server = monitoring_per_server
        self._sockets = _PoolSockets()
        listeners = [*options.pop("event_listeners", ()), self._sockets]
        self.client: Client = MongoClient(
            uri, maxPoolSize=pool_size, event_listeners=listeners, **options
        )

    @property
    def in_use(self) -> int:
        """How many sockets are working at this moment."""
        return self._sockets.checked_out

    @property
    def pooled(self) -> int:
        """How many sockets the pool has open."""
        return self._sockets.open

    @property
    def monitoring(self) -> int:
        """How many sockets watch servers that answer."""
        servers = self.client.topology_description.server_descriptions().values()
        return self._monitoring_per_server * sum(server.is_server_type_known for server in servers)

    @property
    def limit(self) -> int:
        """The most sockets that it may open; the pool is that of the primary."""
        servers = len(self.client.topology_description.server_descriptions())
        return self.pool_size + self._monitoring_per_server * max(1, servers)

    def close(self) -> None:
        """Close it, for good."""
        self.client.close()


class ClientFactory:
    """Opens this application's clients: bounded, and with a time limit on every operation."""

    def __init__(self, settings: Settings, listeners: Sequence[CommandListener] = ()) -> None:
        self._shared_pool_size = settings.max_pool_size
        self.dedicated_pool_size = settings.dedicated_pool_size
        self._options: dict[str, Any] = {
            "appname": "multitenant",
            "tz_aware": True,
            "timeoutMS": settings.operation_timeout_ms,
            "event_listeners": list(listeners),
        }

    def open_shared(self, uri: str) -> OpenedClient:
        """Open the one client of a cluster, which hears of its elections at once."""
        return OpenedClient(
            uri,
            pool_size=self._shared_pool_size,
            monitoring_per_server=MONITORING_SOCKETS_PER_CLIENT,
            maxIdleTimeMS=SHARED_IDLE_MS,
            **self._options,
        )

    def open_dedicated(self, uri: str, **credentials: str) -> OpenedClient:
        """Open a small client for one tenant; `credentials` go before those of the URI.

        It polls instead of streaming, which takes one socket for each server, and has one
        authenticated connection for as long as it is open: so the server can tell whose
        credentials are still in use.
        """
        return OpenedClient(
            uri,
            pool_size=self.dedicated_pool_size,
            monitoring_per_server=1,
            minPoolSize=1,
            maxIdleTimeMS=DEDICATED_IDLE_MS,
            serverMonitoringMode="poll",
            **self._options,
            **credentials,
        )

    def dedicated_limit(self, servers: int) -> int:
        """The most sockets that such a client may open to a deployment of so many servers."""
        return self.dedicated_pool_size + servers


class _PoolSockets(ConnectionPoolListener):
    """Counts the sockets of one client's pools."""

    def __init__(self) -> None:
        self.open = 0
        self.checked_out = 0
        self._lock = threading.Lock()

    def _count(self, *, opened: int = 0, checked_out: int = 0) -> None:
        with self._lock:
            self.open += opened
            self.checked_out += checked_out

    def connection_created(self, event: ConnectionCreatedEvent) -> None:
        """One more."""
        self._count(opened=1)

    def connection_closed(self, event: ConnectionClosedEvent) -> None:
        """One less."""
        self._count(opened=-1)

    def connection_checked_out(self, event: ConnectionCheckedOutEvent) -> None:
        """One begins to work."""
        self._count(checked_out=1)

    def connection_checked_in(self, event: ConnectionCheckedInEvent) -> None:
        """One rests again."""
        self._count(checked_out=-1)

    def pool_created(self, event: PoolCreatedEvent) -> None:
        """Nothing to count."""

    def pool_ready(self, event: PoolReadyEvent) -> None:
        """Nothing to count."""

    def pool_cleared(self, event: PoolClearedEvent) -> None:
        """Nothing to count: each connection is closed with an event of its own."""

    def pool_closed(self, event: PoolClosedEvent) -> None:
        """Nothing to count."""

    def connection_ready(self, event: ConnectionReadyEvent) -> None:
        """Nothing to count."""

    def connection_check_out_started(self, event: ConnectionCheckOutStartedEvent) -> None:
        """Nothing to count."""

    def connection_check_out_failed(self, event: ConnectionCheckOutFailedEvent) -> None:
        """Nothing to count."""
