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
        if known and not self._is_good(min(asked_at for asked_at, _ in known.values()), now):
            known = {key: kept for key, kept in known.items() if self._is_good(kept[0], now)}
        answers = {key: value for key, (_, value) in known.items()}
        if missing := [key for key in keys if key not in known]:
            asked = ask(missing)
            answers.update(asked)
            with self._lock:
                if generation == self._generation:
                    for key, value in asked.items():
                        self._known[key] = (now, value)
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

    def _is_good(self, asked_at: float, now: float) -> bool:
        return now - asked_at <= self._stale_seconds or self._vouches(asked_at)
