"""What each server has told about itself while PyMongo was looking for it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo.monitoring import (
    ServerHeartbeatFailedEvent,
    ServerHeartbeatListener,
    ServerHeartbeatStartedEvent,
    ServerHeartbeatSucceededEvent,
)

Address = tuple[str, int | None]
CANCELLED = "operation cancelled"
"""What PyMongo says when it was itself that gave up."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A server's answer to `hello`."""

    document: dict[str, Any]
    ahead_seconds: float
    """How much its clock is ahead of this machine's; half of `uncertain_seconds` either way."""
    uncertain_seconds: float
    """How long the question and its answer took."""


class Heartbeats(ServerHeartbeatListener):
    """Keeps the last answer and the last error of each server of the clients that it listens to."""

    def __init__(self) -> None:
        self.hellos: dict[Address, Hello] = {}
        self.errors: dict[Address, Exception] = {}

    def started(self, event: ServerHeartbeatStartedEvent) -> None:
        """Nothing to keep."""

    def succeeded(self, event: ServerHeartbeatSucceededEvent) -> None:
        """Keep the answer, unless the server was asked to wait with it."""
        if event.awaited:
            return
        document = event.reply.document
        told = document["localTime"]
        told = told if told.tzinfo else told.replace(tzinfo=UTC)
        asked_ago = event.duration / 2
        ahead = (told - datetime.now(UTC)).total_seconds() + asked_ago
        self.hellos[event.connection_id] = Hello(document, ahead, event.duration)
        self.errors.pop(event.connection_id, None)

    def failed(self, event: ServerHeartbeatFailedEvent) -> None:
        """Keep the error."""
        if str(event.reply) != CANCELLED:
            self.errors[event.connection_id] = event.reply
