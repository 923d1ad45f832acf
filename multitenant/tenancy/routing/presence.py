"""That this process is there and may serve tenants, and what it answers when it is asked.

Whoever must be sure that no process works with an old record of a tenant asks all that are there
(handshakes.py). So a process notes itself before its first lease, and again and again while it
lives; one that could not do so for long leases nothing before it has.
"""

import os
import threading
import time
from collections.abc import Callable
from uuid import uuid4

from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.clock import CLOCK
from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin import handshakes
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.failures import contained
from multitenant.tenancy.routing.lease_generations import Generation, LeaseGenerations

BEAT_SECONDS = 10.0
OVERDUE_SECONDS = 20.0
GONE_SECONDS = 45.0
"""A process that was not seen for so long is dead, or leases nothing before it is seen again."""
ANSWER_SECONDS = 60.0
"""Longer than anybody waits for an answer."""
NEVER = float("-inf")


class Presence:
    """What the others see of this process."""

    def __init__(
        self,
        admin_db: Callable[[], MongoDatabase],
        leases: LeaseGenerations,
        watch: Callable[[], None],
    ) -> None:
        """Writes nothing before ensure(). `watch` sees to it that beat() and answer() are called
        from then on."""
        self._watch = watch
        self._admin_db = admin_db
        self._leases = leases
        self._name = ""
        self._process = 0
        self._noted_at = NEVER
        self._failed_at = NEVER
        self._lock = threading.Lock()

    def ensure(self) -> None:
        """Return if the others know of this process, which is about to lease a tenant. Raises
        PyMongo's errors when they cannot be told, and DatabaseUnavailable in the threads that have
        waited for another one to find that out."""
        if time.monotonic() - self._noted_at > OVERDUE_SECONDS or self._process != os.getpid():
            asked_at = time.monotonic()
            with self._lock:
                if self._failed_at >= asked_at:
                    raise DatabaseUnavailable
                if time.monotonic() - self._noted_at > OVERDUE_SECONDS or self._is_forked():
                    self._note()
            self._watch()

    def beat(self) -> None:
        """Tell the others again, if it is time to. Called about twice a second, when they know."""
        if self._noted_at != NEVER and time.monotonic() - self._noted_at > BEAT_SECONDS:
            with self._lock:
                self._note()

    def leave(self) -> None:
        """Tell the others that this process serves no tenants any more."""
        if self._noted_at == NEVER or self._is_forked():
            return
        self._noted_at = NEVER
        with contained("This process could not say that it ends"):  # it is forgotten soon
            handshakes.remove_process(self._admin_db(), self._name)

    def answer(
        self, handshake_id: ObjectId, tenant_id: ObjectId, forget: Callable[[ObjectId], None]
    ) -> None:
        """Answer in a thread, as soon as every lease that began before now has ended. `forget`
        makes all later ones read the tenant's record."""
        if self._noted_at == NEVER or self._is_forked():
            return  # nobody waits for it
        forget(tenant_id)
        before = self._leases.next(tenant_id)
        threading.Thread(
            target=self._answer_after,
            args=(handshake_id, before),
            name="tenant-handshake",
            daemon=True,
        ).start()

    def _answer_after(self, handshake_id: ObjectId, before: list[Generation]) -> None:
        if self._leases.await_end(before, ANSWER_SECONDS):
            self._write(handshake_id)

    def _write(self, handshake_id: ObjectId) -> None:
        with contained("An answer could not be given"):  # whoever asks may ask again
            handshakes.answer_handshake(self._admin_db(), handshake_id, self._name)

    def _note(self) -> None:
        if self._is_forked():
            self._name, self._process = uuid4().hex, os.getpid()
        began_at = time.monotonic()
        try:
            told = handshakes.note_process(self._admin_db(), self._name)
        except PyMongoError:
            self._failed_at = time.monotonic()
            raise
        CLOCK.hear(told, began_at, time.monotonic())
        self._noted_at = began_at

    def _is_forked(self) -> bool:
        return self._process != os.getpid()
