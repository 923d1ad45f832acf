"""What a server that is somebody else's may make a client do.

A MongoDB server tells its clients which others belong to it, and how much they may send and be
sent. PyMongo believes that: it opens connections to, and keeps a thread for, each server that is
named. So each answer is looked at before PyMongo is: where it names servers that are not allowed,
or too many, the client is closed, and whatever is done with it raises ForeignServerRefused.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from pymongo.common import MAX_BSON_SIZE, MAX_WRITE_BATCH_SIZE
from pymongo.errors import AutoReconnect, ConnectionFailure, OperationFailure
from pymongo.hello import Hello
from pymongo.synchronous.monitor import Monitor
from pymongo.synchronous.pool import Connection, Pool
from pymongo.uri_parser import parse_uri

from multitenant.addresses import format_address
from multitenant.tenancy.deployments.allowed_hosts import Address, is_allowed

MAX_MEMBERS = 10
"""Servers of a deployment. Most replica sets have three or five; seven may vote."""
MAX_HELLO_BYTES = 64 * 1024
"""What a server says of itself and the others of its deployment."""
MAX_REPLY_BYTES = MAX_BSON_SIZE + 64 * 1024
"""The most that a genuine server sends at a time: a document of the greatest size, and a head."""
CONNECT_SECONDS = 5.0
SRV_SCHEME = "mongodb+srv://"


class ForeignServerRefused(AutoReconnect):
    """Raised where a server of somebody else's leads a client to where it must not go; the message
    goes on after "the URI"."""


class ForeignServers:
    """The servers that one client may connect to: those of its URI, and what the list allows."""

    def __init__(self, uri: str, allowed: Sequence[str], on_refused: Callable[[], object]) -> None:
        """Raises PyMongo's errors for what is no URI or cannot be looked up, and
        ForeignServerRefused."""
        self._allowed = allowed
        self.on_refused = on_refused
        self._most = MAX_MEMBERS
        self.refused: str | None = None
        """Why the client was closed; None while it was not."""
        parsed = parse_uri(uri, warn=False, connect_timeout=CONNECT_SECONDS)
        self._named: list[Address] = parsed["nodelist"]
        looked_up = uri.startswith(SRV_SCHEME)
        # What the URI names itself was checked when it was given.
        if why := self._fault_of(self._named, () if looked_up else self._named):
            raise ForeignServerRefused(why)
        self.hosts: str | list[str] = uri
        """For the client. What the DNS has said is used as it was checked, and not asked again."""
        self.options: dict[str, Any] = {
            "connectTimeoutMS": int(CONNECT_SECONDS * 1000),
            "serverMonitoringMode": "poll",
            "_monitor_class": partial(_WatchedMonitor, servers=self),
            "_pool_class": _BoundedPool,
        }
        """For the client as well."""
        if looked_up:
            self.hosts = [format_address(*server) for server in self._named]
            self.options |= {
                "authSource": parsed["database"] or "admin",
                **parsed["options"],
                "username": parsed["username"],
                "password": parsed["password"],
            }

    def keep_to(self, count: int) -> None:
        """Take no more servers than so many from now on: there is room for their sockets. A client
        whose deployment has grown is closed, and the next one makes room for more."""
        self._most = min(MAX_MEMBERS, count)

    def find_fault(self, hello: Hello[dict[str, Any]]) -> str | None:
        """Return what is wrong with the servers that one of them names; None if nothing is."""
        return self._fault_of([*hello.all_hosts], self._named)

    def _fault_of(self, servers: Sequence[Address], named: Sequence[Address]) -> str | None:
        if len(servers) > self._most:
            return f"leads to more than {self._most} servers"
        if all(server in named or is_allowed(server, self._allowed) for server in servers):
            return None
        return "leads to a host that TENANT_URI_ALLOWED_HOSTS does not list"


class _WatchedMonitor(Monitor):
    """Looks at what a server says before PyMongo follows it."""

    def __init__(self, *args: Any, servers: ForeignServers, **options: Any) -> None:
        super().__init__(*args, **options)
        self._servers = servers

    def _check_with_socket(self, conn: Connection) -> tuple[Hello[dict[str, Any]], float]:
        conn.max_message_size = MAX_HELLO_BYTES
        try:
            hello, seconds = super()._check_with_socket(conn)
            why = self._servers.find_fault(hello)
        except (ConnectionFailure, OperationFailure, OSError, ReferenceError):
            raise
        except Exception:  # noqa: BLE001  # it may say anything
            why = "leads to a server that does not speak as MongoDB does"
        if why is None:
            return hello, seconds
        self._servers.refused = why
        self._topology.close()
        self._servers.on_refused()
        raise ForeignServerRefused(why)


class _BoundedPool(Pool):
    """Does not believe what a server says about sizes: every genuine one says the same."""

    def connect(self, *args: Any, **options: Any) -> Connection:
        """See Pool."""
        connection = super().connect(*args, **options)
        connection.max_bson_size = MAX_BSON_SIZE
        connection.max_message_size = MAX_REPLY_BYTES
        connection.max_write_batch_size = MAX_WRITE_BATCH_SIZE
        return connection
