"""A bound on how often something is done, without delay for what comes seldom."""

import time

SHORTEST = 1e-9
"""Seconds to wait where others are to have a turn, and no more."""


class Pace:
    """Allows so many a second on average, and `burst` at once after a while with none. Used by one
    thread."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._credit = burst * self._interval
        self._due_at = float("-inf")

    def seconds(self) -> float:
        """Count one, and return for how many seconds to wait before it."""
        now = time.monotonic()
        self._due_at = max(self._due_at + self._interval, now - self._credit)
        return max(SHORTEST, self._due_at - now)
