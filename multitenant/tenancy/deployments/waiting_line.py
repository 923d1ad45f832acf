"""Waiting for a connection in the order of arrival."""

import threading
from collections import deque

from multitenant.errors import DatabaseUnavailable


class WaitingLine:
    """Lets `places` in at a time, and the others in the order in which they came.

    PyMongo's pool gives a connection to whoever asks at the right moment, which may be one that
    has just come: where more requests than connections are served, some would wait for several
    times as long as others.
    """

    def __init__(self, places: int, seconds: float | None) -> None:
        """Nobody waits for more than `seconds`; None is for as long as it takes."""
        self._free = places
        self._seconds = -1.0 if seconds is None else seconds
        self._waiting: deque[threading.Lock] = deque()
        self._lock = threading.Lock()

    def enter(self) -> None:
        """Wait for a place, which needs one leave(). Raises DatabaseUnavailable."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            place = threading.Lock()
            place.acquire()
            self._waiting.append(place)
        entered = False
        try:
            entered = place.acquire(timeout=self._seconds)
        finally:
            if not entered:
                self._give_up(place)
        if not entered:
            raise DatabaseUnavailable(retry_after=1)

    def leave(self) -> None:
        """Give the place to whoever has waited for longest."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._free += 1

    def _give_up(self, place: threading.Lock) -> None:
        with self._lock:
            if place in self._waiting:
                self._waiting.remove(place)
                return
        self.leave()  # it was given this moment
