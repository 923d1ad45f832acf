"""What a server that is somebody else's may make a client do.

A MongoDB server tells its clients which others belong to it, and how much they may send and be
sent. PyMongo believes that: it opens connections to, and keeps a thread for, each server that is
named. So each answer is looked at before PyMongo is: where it names servers that are not allowed,
or too many, the client is closed, and whatever is done with it raises ForeignServerRefused.
"""

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from pymongo.errors import AutoReconnect, ConnectionFailure, OperationFailure, PyMongoError
from pymongo.hello import Hello
from pymongo.synchronous.monitor import Monitor
from pymongo.synchronous.pool import Connection
from pymongo.uri_parser import parse_uri

from multitenant.addresses import format_address
from multitenant.repositories.error_codes import Kind
from multitenant.repositories.error_kinds import classify
from multitenant.tenancy.deployments.allowed_hosts import Address, is_allowed
from multitenant.tenancy.deployments.foreign_connections import BoundedPool, RequestPool

MAX_MEMBERS = 10
"""Servers of a deployment. Most replica sets have three or five; seven may vote."""
MAX_EMPTY_BATCHES = 100
"""In a row, of cursors that go on all the same. A server sends one where it has looked for long
and found nothing yet."""
MAX_EMPTY_SECONDS = 10.0
"""How long a server may go on so."""
CONNECT_SECONDS = 5.0
SRV_SCHEME = "mongodb+srv://"


class ForeignServerRefused(AutoReconnect):
    """Raised where a server of somebody else's leads a client to where it must not go; the message
    goes on after "the URI"."""


NOT_MONGODB = "leads to a server that does not speak as MongoDB does"


STUMBLES: tuple[type[Exception], ...] = (
    *(AssertionError, AttributeError, LookupError, OverflowError, RecursionError, TypeError),
    *(ValueError, struct.error, PyMongoError),
)
"""What may be raised over an answer in which something is missing, or of another type."""


@contextmanager
def answers_understood() -> Iterator[None]:
    """In the block a foreign server is asked: raise ForeignServerRefused for what its answers may
    have led to."""
    try:
        yield
    except Exception as error:
        blame_server(error)
        raise


def blame_server(error: BaseException | None) -> None:
    """Raise ForeignServerRefused if the error may come from what a foreign server has answered, and
    would count as one of the platform's own otherwise."""
    if isinstance(error, STUMBLES) and classify(error) is Kind.OURS:
        raise ForeignServerRefused(NOT_MONGODB) from error


class ForeignServers:
    """The servers that one client may connect to: those of its URI, and what the list allows."""

    def __init__(
        self,
        uri: str,
        allowed: Sequence[str],
        on_refused: Callable[[], object],
        *,
        for_requests: bool,
    ) -> None:
        """`for_requests` bounds replies in documents. Raises PyMongo's errors for what is no URI or
        cannot be looked up, and ForeignServerRefused."""
        self._allowed = allowed
        self.on_refused = on_refused
        self._most = MAX_MEMBERS
        self._known: set[Address] = set()
        self._empty_batches = 0
        self._empty_since = 0.0
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
            "_pool_class": RequestPool if for_requests else BoundedPool,
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
        """Return what is wrong with the servers that one of them names, and have named; None if
        nothing is."""
        self._known |= hello.all_hosts
        return self._fault_of([*self._known], self._named)

    def take_batch(self, answer: Mapping[str, Any]) -> None:
        """Take note of what a cursor has answered. Raises ForeignServerRefused when there is no end
        to it, and nothing in it."""
        cursor = answer["cursor"]
        if not cursor["id"] or cursor.get("nextBatch") or cursor.get("firstBatch"):
            self._empty_batches = 0
            return
        now = time.monotonic()
        if not self._empty_batches:
            self._empty_since = now
        self._empty_batches += 1
        if self._empty_batches > MAX_EMPTY_BATCHES or now - self._empty_since > MAX_EMPTY_SECONDS:
            self._empty_batches = 0
            raise ForeignServerRefused(NOT_MONGODB)

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
        try:
            hello, seconds = super()._check_with_socket(conn)
            why = self._servers.find_fault(hello)
        except (ConnectionFailure, OperationFailure, OSError, ReferenceError):
            raise
        except Exception:  # noqa: BLE001  # it may say anything
            why = NOT_MONGODB
        if why is None:
            return hello, seconds
        self._refuse(why)
        raise ForeignServerRefused(why)

    def _run(self) -> None:
        try:
            super()._run()
        except Exception:  # noqa: BLE001  # PyMongo has stumbled over it, and would end the thread
            self._refuse(NOT_MONGODB)

    def _refuse(self, why: str) -> None:
        self._servers.refused = why
        self._topology.close()
        self._servers.on_refused()
