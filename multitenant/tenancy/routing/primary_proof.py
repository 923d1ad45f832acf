"""The proof that the admin database's server is the primary, for a process that hears nothing.

A server that was cut off from the others answers reads as ever until it notices. Only a read that
a majority had a part in tells it from the primary. Such a read costs a write, so requests that
need the proof at about the same time share it.
"""

import threading
import time
from collections.abc import Callable

from pymongo.errors import PyMongoError

from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin.heartbeats import prove_primary
from multitenant.repositories.model import MongoDatabase

NEVER = float("-inf")


class PrimaryProof:
    """The latest proof, which is used for `good_for` seconds."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], *, good_for: float) -> None:
        self._admin_db = admin_db
        self._good_for = good_for
        self._proved_at = NEVER
        self._failed_at = NEVER
        self._lock = threading.Lock()

    def moment(self) -> float:
        """Return the moment (of time.monotonic()) after which the server was the primary, for
        certain. Raises PyMongo's errors when it does not prove that, and DatabaseUnavailable in the
        threads that have waited for another one to find that out."""
        asked_at = time.monotonic()
        if asked_at - self._proved_at <= self._good_for:
            return self._proved_at
        with self._lock:
            if self._failed_at >= asked_at:
                raise DatabaseUnavailable
            if time.monotonic() - self._proved_at > self._good_for:
                self._prove()
            return self._proved_at

    def _prove(self) -> None:
        began_at = time.monotonic()
        try:
            prove_primary(self._admin_db())
        except PyMongoError:
            self._failed_at = time.monotonic()
            raise
        self._proved_at = began_at
