"""A check, right before a write to a tenant's database, that the request may still do it.

Between the check of a request and its writes there may be a wait: to hash a password, for other
transactions, for a process that was stopped. What was withdrawn meanwhile must not be written. So
each write looks how long ago the request was checked, and has it checked again where that is long.
"""

import time
from collections.abc import Callable
from contextvars import Context, ContextVar

RECHECK_SECONDS = 0.2
"""For how long a check is good."""


class WritePermission:
    """What a request may write to, and whether it still may."""

    def __init__(self, db_name: str, check: Callable[[], None], checked_at: float) -> None:
        """`checked_at` is when the first check began, by time.monotonic(); `check` raises when the
        request may not go on. It is called in a context of its own, since a transaction would show
        it what was so when that began."""
        self._db_name = db_name
        self._check = check
        self._checked_at = checked_at

    def ensure(self, db_name: str | None) -> None:
        """Return if the request may write to that database; raise what the check raises."""
        now = time.monotonic()
        concerned = db_name in (self._db_name, None)
        if concerned and now - self._checked_at > RECHECK_SECONDS:
            Context().run(self._check)
            self._checked_at = now


_permission: ContextVar[WritePermission | None] = ContextVar("write_permission", default=None)


def set_write_permission(permission: WritePermission | None) -> None:
    """Have the writes of this thread's context checked from now on; None ends that."""
    _permission.set(permission)


def ensure_write_permitted(db_name: str | None = None) -> None:
    """Return if the present request, where there is one, may still write to that database. Writes
    to the tenant's own are checked by themselves; before others, those who have waited ask, without
    a name."""
    if permission := _permission.get():
        permission.ensure(db_name)
