"""How many requests may wait for a cluster, or a tenant's own server, that does not answer."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pymongo.errors import ConnectionFailure, PyMongoError

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER
from multitenant.tenancy.routing.tenant import Tenant

TROUBLE_SECONDS = 5.0
"""How long a place counts as troubled after a failure."""
WARM_UP_SECONDS = 2.0
"""How long a client may take to find the cluster's servers before that counts as trouble."""
ANSWERED_SECONDS = 0.5
"""How long an answer shows that a place works."""
SILENT_SECONDS = 1.0
"""Those for whom there is no room wait so long for a place's first answer."""
SLOW_SECONDS = 1.0
"""A tenant's own server is slow where a request has taken longer, and for TROUBLE_SECONDS after."""

UNLIMITED = (DEFAULT_CLUSTER, EXTERNAL_CLUSTER)


def place_of(tenant: Tenant) -> str:
    """What its requests wait for together: its cluster or, on a server of its own, that alone."""
    return f"{EXTERNAL_CLUSTER}:{tenant.id}" if tenant.has_own_server else tenant.cluster


class ClusterConcurrency:
    """Counts who is at work at each place (see place_of()), or waits to be: opening a client,
    finding a server, logging in, asking. So that places which do not answer cannot take every
    thread of the process, which the others need:

    - At one that has just failed, or is known to have no primary, `limit` may wait, and others are
      refused at once.
    - At one that has not answered lately, nobody knows: `limit` may wait, and twice as many at all
      such places together, but one at each, up to three times as many. Others wait for its first
      answer; where that does not come within SILENT_SECONDS, they are refused.
    - So it is at a tenant's own server that is slow, however often it answers in between.

    The cluster of the admin database is not limited: without it nothing works.
    """

    def __init__(
        self,
        limit: int,
        lacks_primary: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
        *,
        limit_of_silent: int = sys.maxsize,
    ) -> None:
        """`limit_of_silent` is the limit of each place that has not answered lately."""
        self._limit = limit
        self._limit_of_silent = limit_of_silent
        self._lacks_primary = lacks_primary
        self._clock = clock
        self._in_flight: dict[str, list[float]] = {}
        """When those who are there have entered."""
        self._slow_at: dict[str, float] = {}
        self._busy_since: dict[str, float] = {}
        self._answered_at: dict[str, float] = {}
        self._first_used: dict[str, float] = {}
        self._failed_at: dict[str, float] = {}
        self._changed = threading.Condition()

    def enter(self, place: str) -> float:
        """Count one, and return the moment; raise DatabaseUnavailable, and count none, when too
        many wait already. Each that was counted needs one leave() with that moment."""
        with self._changed:
            crowded = place not in UNLIMITED and self._count(place) >= self._limit
            self._first_used.setdefault(place, self._clock())
        if crowded and self.is_troubled(place):
            raise DatabaseUnavailable(retry_after=int(TROUBLE_SECONDS))
        with self._changed:
            if place not in UNLIMITED and not self._has_room(place):
                patience = self._silent_since(place) + SILENT_SECONDS - self._clock()
                if not self._changed.wait_for(lambda: self._has_room(place), max(0.0, patience)):
                    raise DatabaseUnavailable(retry_after=1)
            now = self._clock()
            if not self._count(place):
                self._busy_since[place] = now
            self._in_flight.setdefault(place, []).append(now)
            return now

    def leave(self, place: str, entered_at: float) -> None:
        """Count one less."""
        with self._changed:
            self._in_flight[place].remove(entered_at)
            if not self._in_flight[place]:
                del self._in_flight[place]
            if self._clock() - entered_at > SLOW_SECONDS:
                self._slow_at[place] = self._clock()
            self._changed.notify_all()

    @contextmanager
    def entered(self, place: str) -> Iterator[None]:
        """enter(), and leave() at the end of the block."""
        entered_at = self.enter(place)
        try:
            yield
        finally:
            self.leave(place, entered_at)

    def note_outcome(self, place: str, answered: bool) -> None:  # a callback
        """Take note of an operation that has ended: whether a server has answered it."""
        if not answered:
            self.note_failure(place)
        elif self._is_silent(place, ANSWERED_SECONDS / 2):
            with self._changed:
                self._answered_at[place] = self._clock()
                self._changed.notify_all()

    def note_failure(self, place: str) -> None:
        """Take note that no server has answered there."""
        self._failed_at[place] = self._clock()

    def note_closed(self, place: str) -> None:
        """Take note that the client is closed: the next one has to find the servers first."""
        self._first_used.pop(place, None)

    def is_troubled(self, place: str) -> bool:
        """Whether the place is known to this process for not answering."""
        now = self._clock()
        if now - self._failed_at.get(place, float("-inf")) < TROUBLE_SECONDS:
            return True
        used_for = now - self._first_used.get(place, now)
        return used_for > WARM_UP_SECONDS and self._lacks_primary(place)

    def counts(self) -> dict[str, int]:
        """How many leases there are at this moment, by cluster."""
        counts: Counter[str] = Counter()
        with self._changed:
            for place, entered in self._in_flight.items():
                counts[place.partition(":")[0]] += len(entered)
        return +counts

    def _has_room(self, place: str) -> bool:
        if not self._is_limited(place):
            return True
        here, limit = self._count(place), self._limit_of_silent
        waiting = sum(
            len(entered)
            for other, entered in self._in_flight.items()
            if other not in UNLIMITED and self._is_limited(other)
        )
        return waiting < 3 * limit if not here else here < limit and waiting < 2 * limit

    def _count(self, place: str) -> int:
        return len(self._in_flight.get(place, ()))

    def _is_limited(self, place: str) -> bool:
        return self._is_silent(place) or self._is_slow(place)

    def _is_slow(self, place: str) -> bool:
        """Whether the place is a tenant's own server, and a request takes long there, or did."""
        if not place.startswith(f"{EXTERNAL_CLUSTER}:"):
            return False
        now = self._clock()
        oldest = min(self._in_flight.get(place, ()), default=now)
        slow_at = self._slow_at.get(place, float("-inf"))
        return now - oldest > SLOW_SECONDS or now - slow_at < TROUBLE_SECONDS

    def _is_silent(self, place: str, seconds: float = ANSWERED_SECONDS) -> bool:
        return self._clock() - self._answered_at.get(place, float("-inf")) > seconds

    def _silent_since(self, place: str) -> float:
        """Since when those who are there have had no answer."""
        answered_at = self._answered_at.get(place, float("-inf"))
        return max(answered_at, self._busy_since.get(place, self._clock()))


def is_unreachable(error: BaseException) -> bool:
    """Whether the error says that no server has answered, or not in time."""
    return isinstance(error, PyMongoError) and (
        error.timeout or isinstance(error, ConnectionFailure)
    )
