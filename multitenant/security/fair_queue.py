"""A fair queue: a few workers, shared equally by the groups of callers that wait for one."""

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from multitenant.errors import DatabaseUnavailable, RateLimited

BUSY = "Too many passwords are being checked at the moment; try again shortly"


class _Caller:
    """One who waits. `woken` is set when it may work, or has to give up its place."""

    def __init__(self) -> None:
        self.woken = threading.Event()
        self.may_work = False


class FairQueue:
    """Lets `parallel` callers work at a time. The others wait, and are served in turn by group
    (round-robin), and within a group in the order of arrival: a group that asks a hundred times
    delays another one by one turn each time.

    As many callers work or wait as there are `places`. One more takes the place of the last one of
    the group that has most, if that group has as many as its own even then; otherwise it is refused
    at once.
    """

    def __init__(
        self, *, parallel: int, places: threading.BoundedSemaphore, seconds: float
    ) -> None:
        """Nobody waits for longer than `seconds`."""
        self._idle_workers = parallel
        self._places = places
        self._seconds = seconds
        self._waiting: OrderedDict[Hashable, deque[_Caller]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def turn(self, group: Hashable) -> Iterator[None]:
        """Wait for a worker, and hold it for the block.

        Raises RateLimited when there is no place, or another group needs it, and
        DatabaseUnavailable when the turn does not come in time.
        """
        self._wait(group)
        try:
            yield
        finally:
            self._next()
            self._places.release()

    def _wait(self, group: Hashable) -> None:
        if not self._places.acquire(blocking=False) and not self._displace(group):
            raise RateLimited(BUSY, retry_after=self._retry_after)
        caller = _Caller()
        if self._begin(group, caller):
            return
        try:
            caller.woken.wait(self._seconds)
        except BaseException:
            if self._leave(group, caller):
                self._places.release()
            elif caller.may_work:
                self._next()
                self._places.release()
            raise
        if self._leave(group, caller):
            self._places.release()
            raise DatabaseUnavailable(BUSY, retry_after=self._retry_after)
        if not caller.may_work:
            raise RateLimited(BUSY, retry_after=self._retry_after)

    @property
    def _retry_after(self) -> int:
        return max(1, round(self._seconds / 2))

    def _begin(self, group: Hashable, caller: _Caller) -> bool:
        """Take a worker that is idle; otherwise stand in line, and return False."""
        with self._lock:
            if self._idle_workers:
                self._idle_workers -= 1
                return True
            self._waiting.setdefault(group, deque()).append(caller)
            return False

    def _leave(self, group: Hashable, caller: _Caller) -> bool:
        """Take the caller out of the line; return whether it still stood there."""
        with self._lock:
            line = self._waiting.get(group, deque())
            if caller not in line:
                return False
            line.remove(caller)
            if not line:
                del self._waiting[group]
            return True

    def _next(self) -> None:
        """Give this worker to the group whose turn it is."""
        with self._lock:
            if not self._waiting:
                self._idle_workers += 1
                return
            group, line = self._waiting.popitem(last=False)
            caller = line.popleft()
            if line:
                self._waiting[group] = line  # behind all others
            caller.may_work = True
            caller.woken.set()

    def _displace(self, group: Hashable) -> bool:
        """Take the place of the last caller of the largest group; return whether there was one
        whose group would still have as many as this one has then."""
        with self._lock:
            if not self._waiting:
                return False
            largest = max(self._waiting, key=lambda other: len(self._waiting[other]))
            if len(self._waiting[largest]) - 1 <= len(self._waiting.get(group, ())):
                return False
            self._waiting[largest].pop().woken.set()
            return True
