"""Answers from the admin database that are kept while they are certainly good."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from lru import LRU

Key = TypeVar("Key", bound=str)
Value = TypeVar("Value")

Vouches = Callable[[float], bool]
"""Whether no change since that moment can have been missed (see watcher.py)."""


AsOf = Callable[[], float]
"""A moment such that whatever is read from now on is at least as new (see watcher.py)."""


def nobody_vouches(_: float) -> bool:
    """The answer where no watcher runs."""
    return False


def at_present() -> float:
    """The moment of the reading itself, where nobody has to prove that a server is the primary."""
    return time.monotonic()


class RecentAnswers(Generic[Key, Value]):
    """The latest `size` answers; each is good for `stale_seconds`, and longer while `vouches` says
    that no change since can have been missed. Before anything is asked, `as_of` tells how new the
    answer will be at least; what it raises is raised."""

    def __init__(
        self, size: int, *, stale_seconds: float, vouches: Vouches, as_of: AsOf = at_present
    ) -> None:
        self._stale_seconds = stale_seconds
        self._vouches = vouches
        self._as_of = as_of
        self._known: LRU[Key, tuple[float, Value]] = LRU(size)  # no callback, so one lock will do
        self._generation = 0
        self._lock = threading.Lock()

    def get(self, key: Key, ask: Callable[[], Value]) -> Value:
        """Return the answer that is known for the key, or `ask()`; what that raises is raised, and
        nothing is kept then."""
        return self.get_all([key], lambda _: {key: ask()})[key]

    def get_all(
        self, keys: Sequence[Key], ask: Callable[[list[Key]], Mapping[Key, Value]]
    ) -> dict[Key, Value]:
        """Return the answer for each of the keys; those that are not known are asked for together.
        What `ask` raises is raised, and nothing is kept then."""
        now = time.monotonic()
        with self._lock:
            generation = self._generation
            known = {key: kept for key in keys if (kept := self._known.get(key))}
        # Mostly all are good, and then so is the oldest: one look instead of one for each.
        if known and not self._is_good(min(as_of for as_of, _ in known.values()), now):
            known = {key: kept for key, kept in known.items() if self._is_good(kept[0], now)}
        answers = {key: value for key, (_, value) in known.items()}
        if missing := [key for key in keys if key not in known]:
            as_of = self._as_of()
            asked = ask(missing)
            answers.update(asked)
            with self._lock:
                if generation == self._generation:
                    for key, value in asked.items():
                        self._known[key] = (as_of, value)
        return answers

    def forget(self, key: Key | None = None) -> None:
        """Ask again next time, for this key or for all. An answer that is being asked for is not
        kept: it may be from before the change."""
        with self._lock:
            self._generation += 1
            if key is None:
                self._known.clear()
            else:
                self._known.pop(key, None)

    def _is_good(self, as_of: float, now: float) -> bool:
        return now - as_of <= self._stale_seconds or self._vouches(as_of)
