"""The deployments of MongoDB that the platform runs, and the client of each."""

import os
import threading

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.clients import Client, ClientFactory, OpenedClient

DEFAULT_CLUSTER = "default"
"""The cluster of the admin database."""
EXTERNAL_CLUSTER = "external"
"""What a tenant's record says that is on a server of its own: none of the platform's clusters."""


class Clusters:
    """One client for each cluster in this process, opened when first used."""

    def __init__(self, uris: dict[str, str], factory: ClientFactory) -> None:
        self.uris = uris
        self._factory = factory
        self._clients: dict[str, OpenedClient] = {}
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._closed = False

    def client(self, cluster: str) -> Client:
        """Return this process's client of the cluster; raises KeyError for an unknown one, and
        DatabaseUnavailable after close()."""
        return self._opened(cluster).client

    def servers(self, cluster: str) -> int:
        """How many servers the cluster has, as far as is known."""
        return max(1, len(self.client(cluster).topology_description.server_descriptions()))

    def opened(self) -> dict[str, OpenedClient]:
        """The clients that are open, by cluster."""
        return dict(self._clients)

    def close(self) -> None:
        """Close every client, for good."""
        with self._lock:
            self._closed = True
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()

    def _opened(self, cluster: str) -> OpenedClient:
        opened = self._clients.get(cluster)
        if opened is None or os.getpid() != self._process:
            with self._lock:
                self._refuse_inherited()
                if self._closed:
                    raise DatabaseUnavailable("The server is shutting down", retry_after=1)
                opened = self._clients.get(cluster)
                if opened is None:
                    opened = self._factory.open_shared(self.uris[cluster])
                    self._clients[cluster] = opened
        return opened

    def _refuse_inherited(self) -> None:
        """A client must not cross a fork: parent and child would share its sockets and locks."""
        if os.getpid() == self._process:
            return
        if self._clients:
            raise RuntimeError("A MongoClient was opened before this process was forked")
        self._process = os.getpid()
