"""Answers from the admin database that are kept while they are certainly good."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from lru import LRU

Key = TypeVar("Key", bound=str)
Value = TypeVar("Value")

Vouches = Callable[[float], bool]
"""Whether no change since that moment can have been missed (see watcher.py)."""


def nobody_vouches(_: float) -> bool:
    """The answer where no watcher runs."""
    return False


class RecentAnswers(Generic[Key, Value]):
    """The latest `size` answers; each is good for `stale_seconds`, and longer while `vouches` says
    that no change since can have been missed."""

    def __init__(self, size: int, *, stale_seconds: float, vouches: Vouches) -> None:
        self._stale_seconds = stale_seconds
        self._vouches = vouches
        self._known: LRU[Key, tuple[float, Value]] = LRU(size)  # no callback, so one lock will do
        self._generation = 0
        self._lock = threading.Lock()

    def get(self, key: Key, ask: Callable[[], Value]) -> Value:
        """Return the answer that is known for the key, or `ask()`; what that raises is raised, and
        nothing is kept then."""
        with self._lock:
            known = self._known.get(key)
            generation = self._generation
        now = time.monotonic()
        if known is not None and (now - known[0] <= self._stale_seconds or self._vouches(known[0])):
            return known[1]
        value = ask()
        with self._lock:
            if generation == self._generation:
                self._known[key] = (now, value)
        return value

    def forget(self) -> None:
        """Ask again next time. An answer that is being asked for is not kept: it may be from
        before the change."""
        with self._lock:
            self._generation += 1
            self._known.clear()
