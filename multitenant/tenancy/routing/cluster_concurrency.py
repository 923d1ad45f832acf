"""How many requests may wait for a cluster that does not answer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo.errors import ConnectionFailure, PyMongoError

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER

TROUBLE_SECONDS = 5.0
"""How long a cluster counts as troubled after a failure."""
WARM_UP_SECONDS = 2.0
"""How long a client may take to find the cluster's servers before that counts as trouble."""

UNLIMITED = (DEFAULT_CLUSTER, EXTERNAL_CLUSTER)


class ClusterConcurrency:
    """Counts the leases of tenants on each cluster. While a cluster does not answer, only `limit`
    of them may wait for it, and others are refused at once: so it cannot take every thread of the
    process, which the tenants on other clusters need.

    That of the admin database is not limited: without it nothing works. Nor are tenants on servers
    of their own, who have only themselves to wait for.
    """

    def __init__(
        self,
        limit: int,
        lacks_primary: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._lacks_primary = lacks_primary
        self._clock = clock
        self._in_flight: Counter[str] = Counter()
        self._first_used: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        self._lock = threading.Lock()

    def enter(self, cluster: str) -> None:
        """Count one; raise DatabaseUnavailable, and count none, when too many wait already. Each
        that was counted needs one leave()."""
        with self._lock:
            crowded = cluster not in UNLIMITED and self._in_flight[cluster] >= self._limit
            self._first_used.setdefault(cluster, self._clock())
        if crowded and self.is_troubled(cluster):
            raise DatabaseUnavailable(retry_after=int(TROUBLE_SECONDS))
        with self._lock:
            self._in_flight[cluster] += 1

    def leave(self, cluster: str) -> None:
        """Count one less."""
        with self._lock:
            self._in_flight[cluster] -= 1

    @contextmanager
    def entered(self, cluster: str) -> Iterator[None]:
        """enter(), and leave() at the end of the block; a failure of MongoDB's in it is noted."""
        self.enter(cluster)
        try:
            yield
        except PyMongoError as error:
            if is_unreachable(error):
                self.note_failure(cluster)
            raise
        finally:
            self.leave(cluster)

    def note_failure(self, cluster: str) -> None:
        """Take note that the cluster has not answered."""
        self._failed_at[cluster] = self._clock()

    def is_troubled(self, cluster: str) -> bool:
        """Whether the cluster is known to this process for not answering."""
        now = self._clock()
        if now - self._failed_at.get(cluster, float("-inf")) < TROUBLE_SECONDS:
            return True
        used_for = now - self._first_used.get(cluster, now)
        return used_for > WARM_UP_SECONDS and self._lacks_primary(cluster)

    def counts(self) -> dict[str, int]:
        """How many leases there are at this moment, by cluster."""
        with self._lock:
            return +self._in_flight


def is_unreachable(error: BaseException) -> bool:
    """Whether the error says that no server has answered, or not in time."""
    return isinstance(error, PyMongoError) and (
        error.timeout or isinstance(error, ConnectionFailure)
    )
