"""Work on a tenant that must not be done twice at a time: migrations, restoring, moving."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from datetime import timedelta
from typing import Self
from uuid import uuid4

from bson import ObjectId

from multitenant.errors import Conflict
from multitenant.repositories.admin.locks import (
    acquire_lock,
    check_lock,
    keep_locks,
    release_lock,
)
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.failures import contained

LOCK_LASTS = timedelta(minutes=1)
LOCK_WAIT_SECONDS = 90.0
"""Longer than the lock of a process that was killed."""
LOCK_POLL_SECONDS = 0.2
EnsureHeld = Callable[[], None]
"""Returns if the lock is still held; in a transaction, until its commit. Raises Conflict."""


class TenantLocks:
    """The locks of one command, for its length (a `with` block)."""

    def __init__(self, admin_db: Callable[[], MongoDatabase]) -> None:
        self._admin_db = admin_db
        self._holder = uuid4().hex
        self._renewing = renewing(self._renew, LOCK_LASTS.total_seconds() / 4)

    def __enter__(self) -> Self:
        self._renewing.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._renewing.__exit__(None, None, None)

    @contextmanager
    def locked(self, tenant_id: ObjectId) -> Iterator[EnsureHeld]:
        """Hold the tenant's lock in the block, and yield what makes sure that it is still held: a
        process that stood still for longer than LOCK_LASTS has lost it. Raises Conflict when it is
        not to be had."""
        admin_db, name = self._admin_db(), f"migrations {tenant_id}"
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while not acquire_lock(admin_db, name, holder=self._holder, lasts=LOCK_LASTS):
            if time.monotonic() > deadline:
                raise Conflict("Another process has been at work on it for long; try again")
            time.sleep(LOCK_POLL_SECONDS)

        def ensure_held() -> None:
            if not check_lock(admin_db, name, holder=self._holder):
                raise Conflict("This took so long that another process may be at work; try again")

        try:
            yield ensure_held
        finally:
            release_lock(admin_db, name, holder=self._holder)

    def _renew(self) -> None:
        """What is done under a lock may take longer than it lasts."""
        keep_locks(self._admin_db(), holder=self._holder, lasts=LOCK_LASTS)


@contextmanager
def renewing(renew: Callable[[], None], every: float) -> Iterator[None]:
    """Call `renew` again and again, with `every` seconds between, until the block has ended. What
    it raises is logged: the next attempt may succeed, and what expires is checked where it matters.
    """
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(every):
            with contained("A lock, maintenance or note was not renewed"):
                renew()

    thread = threading.Thread(target=copy_context().run, args=(run,), name="renew", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
