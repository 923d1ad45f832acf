"""The deployments of MongoDB that the platform runs, and the clients that lead to them.

This process has one client for each cluster, opened when first used, and closed when nobody has
used it for a while. The URI of `default` is a setting; any other is in the cluster's record, and
may change while the platform works: who is using the client *holds* it, new work gets a client to
the new URI, and the old client is closed when nobody holds it any more.

Looking up the servers of a URI may take long. Whoever does it keeps those waiting who need the same
cluster, and nobody else.
"""

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.deployments.clients import Client, ClientFactory, OpenedClient

logger = logging.getLogger(__name__)

DEFAULT_CLUSTER = "default"
"""The cluster of the admin database."""
EXTERNAL_CLUSTER = "external"
"""What a tenant's record says that is on a server of its own: none of the platform's clusters."""
IDLE_SECONDS = 300.0
"""A client that was opened so long ago, and has no connection, is not needed: connections close
after a minute without use."""
EXPECTED_SERVERS = 3
"""How many servers to expect in a deployment before they are known: what most replica sets have."""


@dataclass(slots=True, eq=False)
class _Shared:
    """A cluster's client, and how many hold it."""

    cluster: str
    opened: OpenedClient
    opened_at: float
    holds: int = 0
    replaced: bool = False


class Hold:
    """Keeps a cluster's client open until `close()`."""

    __slots__ = ("_give_back", "_shared", "client", "line")

    def __init__(self, shared: _Shared, give_back: Callable[[_Shared], None]) -> None:
        self._shared: _Shared | None = shared
        self._give_back = give_back
        self.client: Client = shared.opened.client
        self.line = shared.opened.line

    def close(self) -> None:
        """Give it back. Doing it again does nothing."""
        shared, self._shared = self._shared, None
        if shared is not None:
            self._give_back(shared)


class Clusters:
    """One client for each cluster in this process."""

    def __init__(
        self,
        default_uri: str,
        find_uri: Callable[[str], str | None],
        factory: ClientFactory,
        *,
        find_uris: Callable[[list[str]], Mapping[str, str | None]],
        room_for: Callable[[int], AbstractContextManager[None]] = lambda _: nullcontext(),
        on_outcome: Callable[[str, bool], None] | None = None,
    ) -> None:
        """`find_uri` reads the URI of a cluster other than `default`, and knows None of those
        that are not there or closed; `find_uris` reads several, and leaves out those that nobody
        can decrypt. `room_for` makes room for so many sockets, for the length of
        the block; it raises DatabaseUnavailable where there is none. `on_outcome` hears of each
        operation on a cluster other than `default` whether a server has answered it."""
        self._default_uri = default_uri
        self._find_uri = find_uri
        self._find_uris = find_uris
        self._factory = factory
        self._room_for = room_for
        self._on_outcome = on_outcome
        self._uris: dict[str, str] = {}
        self._changes = 0
        """How often something may have changed: what was read before is not kept."""
        self._clients: dict[str, _Shared] = {}
        self._replaced: list[_Shared] = []
        """Out of date, and still held."""
        self._lock = threading.Lock()
        self._opening: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        """Each is held while that cluster's client is opened; before `_lock`, never after it."""
        self._process = os.getpid()
        self._closed = False

    @property
    def default(self) -> Client:
        """The client of the admin database's cluster, which is never replaced."""
        return self._shared(DEFAULT_CLUSTER).opened.client

    def hold(self, cluster: str) -> Hold:
        """Return this process's client of the cluster, to be kept until the hold is closed.
        Raises DatabaseUnavailable for a cluster that is not there, or that the sockets do not
        suffice for, and after close()."""
        while True:
            shared = self._shared(cluster)
            with self._lock:
                if not shared.replaced:
                    shared.holds += 1
                    return Hold(shared, self._give_back)

    @contextmanager
    def held(self, cluster: str) -> Iterator[Client]:
        """Yield this process's client of the cluster; see hold()."""
        hold = self.hold(cluster)
        try:
            yield hold.client
        finally:
            hold.close()

    def uri(self, cluster: str) -> str:
        """The cluster's URI; raises DatabaseUnavailable for a cluster that is not there."""
        if cluster == DEFAULT_CLUSTER:
            return self._default_uri
        while True:
            known, changes = self._uris.get(cluster), self._changes
            if known is not None:
                return known
            found = self._find_uri(cluster)
            if found is None:
                logger.error("There is no cluster %s, or it is closed", cluster)
                raise DatabaseUnavailable("The tenant's cluster cannot be reached")
            with self._lock:
                if changes == self._changes:
                    self._uris[cluster] = found

    def servers(self, cluster: str) -> int:
        """How many servers the cluster has, as far as is known."""
        shared = self._clients.get(cluster)
        known = shared.opened.client.topology_description.server_descriptions() if shared else ()
        return len(known) or (1 if cluster == DEFAULT_CLUSTER else EXPECTED_SERVERS)

    def lacks_primary(self, cluster: str) -> bool:
        """Whether the cluster's client is open and knows of no server that takes writes."""
        shared = self._clients.get(cluster)
        return shared is not None and not (
            shared.opened.client.topology_description.has_writable_server()
        )

    def opened(self) -> list[tuple[str, OpenedClient]]:
        """The clients that are open, each with its cluster; those that are out of date and still
        held as well."""
        with self._lock:
            every = [*self._clients.values(), *self._replaced]
        return [(shared.cluster, shared.opened) for shared in every]

    def known(self) -> list[str]:
        """The clusters, other than `default`, whose URIs this process has read."""
        return [*self._uris]

    def note_change(self) -> bool:
        """Take note that a cluster's record may have changed; return whether refresh() is called
        for."""
        with self._lock:
            self._changes += 1
            return bool(self._uris)

    def refresh(self) -> list[str]:
        """Read all URIs again that were read; return the clusters to which another one leads now
        (or none). Whoever asks gets a client to the new one. Raises what `find_uris` raises."""
        self.note_change()
        changed = []
        for cluster, found in self._find_uris(self.known()).items():
            with self._lock:
                if self._uris.get(cluster) == found:
                    continue
                if found is None:
                    del self._uris[cluster]
                else:
                    self._uris[cluster] = found
                shared = self._replace(cluster)
            changed.append(cluster)
            if shared is not None:
                self._close_unheld(shared)
        return changed

    def give_up_idle(self) -> list[str]:
        """Let go of the clients that nobody uses; return their clusters. Each is closed when nobody
        holds it any more, and opened again when it is needed."""
        idle = []
        with self._lock:
            for cluster, shared in [*self._clients.items()]:
                old = time.monotonic() - shared.opened_at > IDLE_SECONDS
                if cluster != DEFAULT_CLUSTER and old and not shared.opened.pooled:
                    self._replace(cluster)
                    idle.append(shared)
        for shared in idle:
            self._close_unheld(shared)
        return [shared.cluster for shared in idle]

    def close(self) -> None:
        """Close every client, for good."""
        with self._lock:
            self._closed = True
            clients = [*self._clients.values(), *self._replaced]
            self._clients.clear()
            self._replaced.clear()
        for shared in clients:
            shared.opened.close()

    def _shared(self, cluster: str) -> _Shared:
        shared = self._clients.get(cluster)
        if shared is None or os.getpid() != self._process:
            self._refuse_inherited()
            with self._lock:
                opening = self._opening[cluster]
            with opening:
                shared = self._clients.get(cluster)
                while shared is None:
                    shared = self._open(cluster)
        return shared

    def _open(self, cluster: str) -> _Shared | None:
        """Open the cluster's client; return None where another URI leads there by then."""
        uri = self.uri(cluster)
        needed = self._factory.shared_limit(self.servers(cluster))
        room = nullcontext() if cluster == DEFAULT_CLUSTER else self._room_for(needed)
        options: dict[str, Any] = {"admin": cluster == DEFAULT_CLUSTER}
        if self._on_outcome is not None and cluster != DEFAULT_CLUSTER:
            options["on_outcome"] = partial(self._on_outcome, cluster)
        with room:
            opened = self._factory.open_shared(uri, **options)
            shared = _Shared(cluster, opened, time.monotonic())
            with self._lock:
                if not self._closed and uri == self._current_uri(cluster):
                    self._clients[cluster] = shared
                    return shared
        shared.opened.close()
        if self._closed:
            raise DatabaseUnavailable("The server is shutting down", retry_after=1)
        return None

    def _current_uri(self, cluster: str) -> str | None:
        return self._default_uri if cluster == DEFAULT_CLUSTER else self._uris.get(cluster)

    def _replace(self, cluster: str) -> _Shared | None:
        """Give the cluster's client to nobody any more."""
        shared = self._clients.pop(cluster, None)
        if shared is not None:
            shared.replaced = True
            self._replaced.append(shared)
        return shared

    def _give_back(self, shared: _Shared) -> None:
        with self._lock:
            shared.holds -= 1
        if shared.replaced:
            self._close_unheld(shared)

    def _close_unheld(self, shared: _Shared) -> None:
        with self._lock:
            if shared.holds or shared not in self._replaced:
                return
            self._replaced.remove(shared)
        shared.opened.close()

    def _refuse_inherited(self) -> None:
        """A client must not cross a fork: parent and child would share its sockets and locks."""
        with self._lock:
            if os.getpid() == self._process:
                return
            if self._clients:
                raise RuntimeError("A MongoClient was opened before this process was forked")
            self._process = os.getpid()
