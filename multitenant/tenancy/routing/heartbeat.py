"""The heartbeat: written by one process of all, so that its cost does not grow with their number.

The process that wrote the last heartbeat writes the next one. When it falls silent, another one
takes over: whichever comes first after a random time, so that a thousand do not all try.
"""

import logging
import random
import time
from collections.abc import Callable
from uuid import uuid4

from pymongo.errors import PyMongoError

from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin import heartbeats
from multitenant.repositories.model import MongoDatabase

logger = logging.getLogger(__name__)

NEVER = float("inf")


class HeartbeatWriter:
    """Writes the heartbeat when it is this process's turn. One thread writes, and another one hears
    the heartbeats; whatever one of them finds out a little late costs a heartbeat more or less."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], *, every: float) -> None:
        """`every` is in seconds."""
        self._admin_db = admin_db
        self._every = every
        self._name = ""
        self._writer = ""
        """The process that wrote the last one."""
        self._due_at = NEVER

    def begin(self) -> None:
        """Take part, from the moment that this process hears all heartbeats."""
        self._name = uuid4().hex  # a forked process is another one
        self._look_up_writer()

    def pause(self) -> None:
        """Write none: this process hears none."""
        self._due_at = NEVER

    def go_on(self) -> None:
        """Take part again, after a pause."""
        self._await_next()

    @property
    def seconds_until_due(self) -> float:
        """In how many seconds write_if_due() is to be called, as far as is known now."""
        return max(0.0, self._due_at - time.monotonic())

    def hear(self, writer: str | None) -> None:
        """Hear of a heartbeat; `writer` is None where it is the one of before."""
        self._writer = writer or self._writer
        self._await_next()

    def write_if_due(self) -> None:
        """Write the heartbeat, if nobody else has when it was time."""
        if time.monotonic() < self._due_at:
            return
        try:
            if not heartbeats.write_heartbeat(
                self._admin_db(), self._name, instead_of=self._writer
            ):
                self._look_up_writer()
                return
            self._writer = self._name
        except (PyMongoError, DatabaseUnavailable) as error:
            logger.debug("No heartbeat was written: %s", type(error).__name__)
        self._await_next()

    def write_last(self) -> None:
        """Write one more if this process is the writer, whether it is time or not."""
        if self._due_at != NEVER and self._writer == self._name:
            self._due_at = 0.0
            self.write_if_due()

    def _look_up_writer(self) -> None:
        self._writer = heartbeats.claim_heartbeat(self._admin_db(), self._name)
        self._await_next()

    def _await_next(self) -> None:
        """Expect the next one; others give its writer as much time again, and more."""
        mine = self._writer == self._name
        wait = self._every * (1 if mine else 2 + random.random())  # noqa: S311  # no secret
        self._due_at = time.monotonic() + wait
