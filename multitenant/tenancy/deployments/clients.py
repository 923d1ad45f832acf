"""Opening MongoClients, and knowing how many sockets each has and may have."""

from collections.abc import Callable, Sequence
from typing import Any

import pymongo
from bson.codec_options import DatetimeConversion
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, ServerHeartbeatListener

from multitenant.clock import HeartbeatsSetTheClock
from multitenant.config import ADMIN_MONITORING_SOCKETS, Settings
from multitenant.mongodb_uris import PLATFORM, TENANT, followed
from multitenant.repositories.connections import pools_of
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.deployments.foreign_servers import ForeignServers
from multitenant.tenancy.deployments.steady_client import OnOutcome, SteadyClient
from multitenant.tenancy.deployments.waiting_line import WaitingLine

Client = MongoClient[MongoDocument]
Listener = CommandListener | ServerHeartbeatListener

ADMIN_MONITORING = "stream"
POLLING_SOCKETS = 1
"""With which a client that polls watches each server."""
SHARED_IDLE_MS = 60_000
DEDICATED_IDLE_MS = 30_000
CLOSE_SECONDS = 1.0


class OpenedClient:
    """A MongoClient with its sockets: those of its pool, and those that watch each server of the
    deployment."""

    def __init__(
        self,
        hosts: str | list[str],
        *,
        pool_size: int,
        monitoring_per_server: int,
        foreign: ForeignServers | None = None,
        **options: Any,
    ) -> None:
        """`hosts` is a URI, or servers. `foreign` are those of a tenant's own deployment, which may
        be anybody's."""
        self._foreign = foreign
        self.pool_size = pool_size
        self._min_pool_size: int = options.get("minPoolSize", 0)
        self._monitoring_per_server = monitoring_per_server
        self.client: Client = SteadyClient(
            hosts,
            maxPoolSize=pool_size,
            foreign=foreign,
            **options,
        )
        self.line = WaitingLine(pool_size, self.client.options.timeout)
        """For those who are to get their connections in the order in which they came."""

    def settle(self) -> None:
        """Take no more servers than it knows by now: its sockets are counted by them."""
        if self._foreign is not None:
            self._foreign.keep_to(self._servers)

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
        return _limit(
            self.pool_size, self._monitoring_per_server, self._min_pool_size, self._servers
        )

    @property
    def _servers(self) -> int:
        return max(1, len(self.client.topology_description.server_descriptions()))

    def close(self) -> None:
        """Close it, for good. The farewell to a server that hangs takes a second at most; foreign
        ones are told none, for they may answer anything."""
        if self._foreign:
            self.client._topology.pop_all_sessions()  # noqa: SLF001  # that of which it would tell
        with pymongo.timeout(CLOSE_SECONDS):
            self.client.close()


class ClientFactory:
    """Opens this application's clients: bounded, and with a time limit on every operation."""

    def __init__(self, settings: Settings, listeners: Sequence[Listener] = ()) -> None:
        self._allowed_hosts = settings.tenant_uri_allowed_hosts
        self._shared_pool_size = settings.max_pool_size
        self.dedicated_pool_size = settings.dedicated_pool_size
        self._options: dict[str, Any] = {
            "appname": "multitenant",
            "tz_aware": True,
            # A date beyond the year 9999, or a text that is not UTF-8, is read as such, and fails
            # where it does not fit, rather than everything that was read with it.
            "datetime_conversion": DatetimeConversion.DATETIME_AUTO,
            "unicode_decode_error_handler": "replace",
            "timeoutMS": settings.operation_timeout_ms,
            # Nobody is served on what a secondary has not heard of yet, and
            # what an election interrupts is done again.
            "readPreference": "primary",
            "retryReads": True,
            "retryWrites": True,
            "event_listeners": list(listeners),
        }

    def open_shared(
        self, uri: str, *, admin: bool = False, on_outcome: OnOutcome | None = None
    ) -> OpenedClient:
        """Open the one client of a cluster. That of the admin database's cluster (`admin`) hears of
        elections at once, and this process goes by its clock (see clock.py). Others poll, which
        takes one socket and one thread for each server instead of two, and hear of an election by
        the first operation that fails. `on_outcome` hears of each operation whether a server has
        answered it."""
        options = {**self._options, "serverMonitoringMode": ADMIN_MONITORING if admin else "poll"}
        if admin:
            options["event_listeners"] = [HeartbeatsSetTheClock(), *options["event_listeners"]]
        return OpenedClient(
            followed(uri, PLATFORM),
            pool_size=self._shared_pool_size,
            monitoring_per_server=ADMIN_MONITORING_SOCKETS if admin else POLLING_SOCKETS,
            on_outcome=on_outcome,
            maxIdleTimeMS=SHARED_IDLE_MS,
            **options,
        )

    def open_dedicated(
        self, uri: str, *, on_outcome: OnOutcome | None = None, **credentials: Any
    ) -> OpenedClient:
        """Open a small client for one tenant; `credentials` go before those of the URI.

        It polls instead of streaming, which takes one socket for each server, and has one
        authenticated connection for as long as it is open: so the server can tell whose
        credentials are still in use.
        """
        return OpenedClient(
            followed(uri, PLATFORM),
            pool_size=self.dedicated_pool_size,
            monitoring_per_server=POLLING_SOCKETS,
            minPoolSize=1,
            maxIdleTimeMS=DEDICATED_IDLE_MS,
            serverMonitoringMode="poll",
            on_outcome=on_outcome,
            **self._options,
            **credentials,
        )

    def open_foreign(
        self,
        uri: str,
        *,
        on_outcome: OnOutcome | None = None,
        on_refused: Callable[[], object] = lambda: None,
        for_requests: bool = False,
    ) -> OpenedClient:
        """Open a small client to a tenant's own server, which is bounded in what it can make the
        client do; most so where it is `for_requests`. `on_refused` is called when the client has
        closed itself over that. Raises PyMongo's errors, ForeignServerRefused among them."""
        foreign = ForeignServers(
            followed(uri, TENANT), self._allowed_hosts, on_refused, for_requests=for_requests
        )
        return OpenedClient(
            foreign.hosts,
            pool_size=self.dedicated_pool_size,
            monitoring_per_server=POLLING_SOCKETS,
            foreign=foreign,
            minPoolSize=1,
            maxIdleTimeMS=DEDICATED_IDLE_MS,
            on_outcome=on_outcome,
            **{**foreign.options, **self._options},
        )

    def shared_limit(self, servers: int) -> int:
        """The most sockets that the client of a cluster other than the admin database's may open to
        a deployment of so many servers."""
        return _limit(self._shared_pool_size, POLLING_SOCKETS, 0, servers)

    def dedicated_limit(self, servers: int) -> int:
        """The most sockets that such a client may open to a deployment of so many servers."""
        return _limit(self.dedicated_pool_size, POLLING_SOCKETS, 1, servers)


def _limit(pool_size: int, monitoring_per_server: int, min_pool_size: int, servers: int) -> int:
    return pool_size + min_pool_size * (servers - 1) + monitoring_per_server * servers
