"""Opening MongoClients, and knowing how many sockets each has and may have."""

from collections.abc import Sequence
from typing import Any

import pymongo
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, ServerHeartbeatListener

from multitenant.clock import HeartbeatsSetTheClock
from multitenant.config import MONITORING_SOCKETS_PER_CLIENT, Settings
from multitenant.repositories.connections import pools_of
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.deployments.steady_client import SteadyClient
from multitenant.tenancy.deployments.waiting_line import WaitingLine

Client = MongoClient[MongoDocument]
Listener = CommandListener | ServerHeartbeatListener

SHARED_IDLE_MS = 60_000
DEDICATED_IDLE_MS = 30_000
CLOSE_SECONDS = 1.0


class OpenedClient:
    """A MongoClient with its sockets: those of its pool, and those that watch each server of the
    deployment."""

    def __init__(
        self, uri: str, *, pool_size: int, monitoring_per_server: int, **options: Any
    ) -> None:
        self.pool_size = pool_size
        self._min_pool_size: int = options.get("minPoolSize", 0)
        self._monitoring_per_server = monitoring_per_server
        self.client: Client = SteadyClient(uri, maxPoolSize=pool_size, **options)
        self.line = WaitingLine(pool_size, self.client.options.timeout)
        """For those who are to get their connections in the order in which they came."""

    @property
    def in_use(self) -> int:
        """How many sockets are working at this moment."""
        return sum(pool.active_sockets for pool in pools_of(self.client))

    @property
    def pooled(self) -> int:
        """How many sockets the pool has open."""
        return sum(pool.active_sockets + len(pool.conns) for pool in pools_of(self.client))

    @property
    def monitoring(self) -> int:
        """How many sockets watch servers that answer."""
        servers = self.client.topology_description.server_descriptions().values()
        return self._monitoring_per_server * sum(server.is_server_type_known for server in servers)

    @property
    def limit(self) -> int:
        """The most sockets that it may open: the primary's pool, what is kept ready for each other
        server, and what watches all of them."""
        servers = max(1, len(self.client.topology_description.server_descriptions()))
        return _limit(self.pool_size, self._monitoring_per_server, self._min_pool_size, servers)

    def close(self) -> None:
        """Close it, for good. The farewell to a server that hangs takes a second at most."""
        with pymongo.timeout(CLOSE_SECONDS):
            self.client.close()


class ClientFactory:
    """Opens this application's clients: bounded, and with a time limit on every operation."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener] = ()) -> None:
        self._shared_pool_size = settings.max_pool_size
        self.dedicated_pool_size = settings.dedicated_pool_size
        self._options: dict[str, Any] = {
            "appname": "multitenant",
            "tz_aware": True,
            "timeoutMS": settings.operation_timeout_ms,
            # Whatever the URI says: nobody is served on what a secondary has not heard of yet, and
            # what an election interrupts is done again.
            "readPreference": "primary",
            "retryReads": True,
            "retryWrites": True,
            "event_listeners": list(listeners),
        }

    def open_shared(self, uri: str, *, sets_clock: bool = False) -> OpenedClient:
        """Open the one client of a cluster, which hears of its elections at once. With
        `sets_clock` this process goes by that cluster's clock (see clock.py)."""
        options = self._options
        if sets_clock:
            listeners = [HeartbeatsSetTheClock(), *options["event_listeners"]]
            options = {**options, "event_listeners": listeners}
        return OpenedClient(
            uri,
            pool_size=self._shared_pool_size,
            monitoring_per_server=MONITORING_SOCKETS_PER_CLIENT,
            maxIdleTimeMS=SHARED_IDLE_MS,
            **options,
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

    def shared_limit(self, servers: int) -> int:
        """The most sockets that a cluster's client may open to a deployment of so many servers."""
        return _limit(self._shared_pool_size, MONITORING_SOCKETS_PER_CLIENT, 0, servers)

    def dedicated_limit(self, servers: int) -> int:
        """The most sockets that such a client may open to a deployment of so many servers."""
        return _limit(self.dedicated_pool_size, 1, 1, servers)


def _limit(pool_size: int, monitoring_per_server: int, min_pool_size: int, servers: int) -> int:
    return pool_size + min_pool_size * (servers - 1) + monitoring_per_server * servers
