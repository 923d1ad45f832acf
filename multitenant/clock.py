"""The present time, by the clock of the admin database.

What processes write for each other (until when a lock is held, a tenant is in maintenance, a token
is good) must mean the same to all of them, and the clocks of machines differ, or are set. So every
process goes by one clock, that of the admin database's primary: each time that it tells the time,
this process sets its own by it, and counts on by its monotonic clock, which nobody sets.

There is one for the process, as there is one system clock. Until the database has told the time,
the system's counts.
"""

import time
from datetime import UTC, datetime
from typing import Any

from pymongo.monitoring import ServerHeartbeatListener, ServerHeartbeatSucceededEvent


class Clock:
    """A clock that others set."""

    def __init__(self) -> None:
        self._ahead: float | None = None
        """How much the time is ahead of the monotonic clock; None until it was told."""

    @property
    def is_set(self) -> bool:
        """Whether the time was told."""
        return self._ahead is not None

    def now(self) -> float:
        """The present time, in seconds since the epoch."""
        ahead = self._ahead
        return time.time() if ahead is None else time.monotonic() + ahead

    def since(self, told: datetime) -> float:
        """How many seconds ago the database has told that time; never less than none."""
        return max(0.0, self.now() - _timestamp(told))

    def hear(self, told: datetime, asked_at: float, answered_at: float) -> None:
        """Set the clock by what somebody has told who was asked and has answered at those moments
        of time.monotonic(). The clock stays as it is where it agrees, so that it does not waver
        with every answer's way through the network."""
        moment = _timestamp(told)
        ahead = time.time() - time.monotonic() if self._ahead is None else self._ahead
        self._ahead = min(max(ahead, moment - answered_at), moment - asked_at)


def _timestamp(told: datetime) -> float:
    aware = told if told.tzinfo else told.replace(tzinfo=UTC)
    return aware.timestamp()


CLOCK = Clock()
"""That of this process."""


class HeartbeatsSetTheClock(ServerHeartbeatListener):
    """Sets the clock by a client's heartbeats. The first one comes before the client's first
    operation, whatever that is."""

    def started(self, event: Any) -> None:
        """Nothing to hear yet."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Hear the primary, unless it was asked to wait with its answer."""
        # The first answer of a connection says so in an older way.
        if event.reply.is_writable and not event.awaited:
            told, answered_at = event.reply.document["localTime"], time.monotonic()
            CLOCK.hear(told, answered_at - event.duration, answered_at)

    def failed(self, event: Any) -> None:
        """Nothing was told."""
