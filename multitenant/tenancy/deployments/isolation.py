"""A check, at the level of MongoDB commands, that work stays in the databases it may touch.

While a *scope* is set, every command to another database is a violation: logged at CRITICAL and
counted. Tests run with it and fail on any; `ISOLATION_CHECK` switches it on in production. A
listener cannot stop a command, so this proves the code, and does not replace it.
"""

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

logger = logging.getLogger(__name__)

_scope: ContextVar[frozenset[str] | None] = ContextVar("isolation_scope", default=None)

# Sent on behalf of sessions and connections; they read no data.
HOUSEKEEPING = frozenset(
    {"hello", "ismaster", "ping", "endSessions", "commitTransaction", "abortTransaction"}
    | {"saslStart", "saslContinue", "killSessions"}
)


def set_scope(*databases: str) -> None:
    """Allow only these databases from now on, in this thread's context."""
    _scope.set(frozenset(databases))


def clear_scope() -> None:
    """End the scope: nothing is checked."""
    _scope.set(None)


@contextmanager
def widened_scope(*databases: str) -> Iterator[None]:
    """Allow these databases as well, within the block; without a scope, change nothing."""
    scope = _scope.get()
    token = _scope.set(scope if scope is None else scope.union(databases))
    try:
        yield
    finally:
        _scope.reset(token)


class IsolationListener(CommandListener):
    """Records every command that left its scope."""

    def __init__(self) -> None:
        self.commands = 0
        """How many commands were checked against a scope."""
        self.violations: deque[str] = deque(maxlen=100)
        """The latest, one line each, without data."""

    def started(self, event: CommandStartedEvent) -> None:
        """Check one command."""
        scope = _scope.get()
        if scope is None or event.command_name in HOUSEKEEPING:
            return
        self.commands += 1
        if event.database_name not in scope:
            violation = (
                f"{event.command_name} on {event.database_name}, allowed were {sorted(scope)}"
            )
            self.violations.append(violation)
            logger.critical("A command left its tenant: %s", violation)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to check."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to check."""
