"""Answers from the admin database that are kept while they are certainly good."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
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
    answer will be at least; what it raises is raised. `subject` tells what an answer is about, if
    anything."""

    def __init__(
        self,
        size: int,
        *,
        stale_seconds: float,
        vouches: Vouches,
        as_of: AsOf = at_present,
        subject: Callable[[Value], Hashable | None] = lambda _: None,
    ) -> None:
        self._stale_seconds = stale_seconds
        self._vouches = vouches
        self._as_of = as_of
        self._subject = subject
        self._about: defaultdict[Hashable, set[Key]] = defaultdict(set)
        """The keys of the known answers about each subject."""
        # Used under one lock, and the callback lets no other thread run: see tenant_cache.py.
        self._known: LRU[Key, tuple[float, Value]] = LRU(size, callback=self._note_eviction)
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
                        self._keep(key, as_of, value)
        return answers

    def forget(self, key: Key | None = None) -> None:
        """Ask again next time, for this key or for all. An answer that is being asked for is not
        kept: it may be from before the change."""
        with self._lock:
            self._generation += 1
            if key is None:
                self._known.clear()
                self._about.clear()
            else:
                self._drop(key)

    def forget_about(self, subject: Hashable) -> None:
        """The same, for all keys whose answers are about that subject."""
        with self._lock:
            self._generation += 1
            for key in [*self._about.get(subject, ())]:
                self._drop(key)

    def _keep(self, key: Key, as_of: float, value: Value) -> None:
        self._drop(key)
        self._known[key] = (as_of, value)
        if (subject := self._subject(value)) is not None:
            self._about[subject].add(key)

    def _drop(self, key: Key) -> None:
        """Take an answer out; lru-dict does not call back for this."""
        if kept := self._known.pop(key, None):
            self._note_eviction(key, kept)

    def _note_eviction(self, key: Key, kept: tuple[float, Value]) -> None:
        """lru-dict calls this, under our lock, when an answer had to make room."""
        if (subject := self._subject(kept[1])) is None:
            return
        self._about[subject].discard(key)
        if not self._about[subject]:
            del self._about[subject]

    def _is_good(self, as_of: float, now: float) -> bool:
        return now - as_of <= self._stale_seconds or self._vouches(as_of)
