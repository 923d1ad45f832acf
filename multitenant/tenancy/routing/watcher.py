"""Hearing of changes in the admin database, as they happen in any process.

A thread follows the change stream of `tenants`, `revocations`, `clusters` and `handshakes`. What
the caches know stays good for as long as the stream is current: every change since then would have
arrived here and have made them forget. The thread does nothing else: handlers only take note, and
whatever waits for a server is done by other threads.

A stream that is silent proves nothing: it may be that of a server which was cut off from the
others and does not know yet that it is no primary any more. So one process writes a heartbeat, and
all see it in their streams, once a majority of the servers has it. Whoever has seen a heartbeat has
heard of everything that was changed before it was written: the stream is current for
TENANT_STALE_SECONDS after that moment. While it is not, the caches read again what is older, and
before that the server has to prove that it is the primary (as_of()).

A stream that has failed goes on where it was, if the server still knows that place, and all that
was missed is heard then. Only where it does not, everything has to be read again.
"""

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from bson import ObjectId
from pymongo.errors import OperationFailure, PyMongoError

from multitenant.clock import CLOCK
from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin.changes import BATCH_SIZE, cursor_of, has_more, open_changes
from multitenant.repositories.admin.clusters import COLLECTION as CLUSTERS
from multitenant.repositories.admin.handshakes import COLLECTION as HANDSHAKES
from multitenant.repositories.admin.heartbeats import COLLECTION as HEARTBEATS
from multitenant.repositories.admin.revocations import COLLECTION as REVOCATIONS
from multitenant.repositories.admin.tenants import COLLECTION as TENANTS
from multitenant.repositories.error_codes import CANNOT_RESUME
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.routing.heartbeat import HeartbeatWriter
from multitenant.tenancy.routing.pace import SHORTEST, Pace
from multitenant.tenancy.routing.primary_proof import PrimaryProof

logger = logging.getLogger(__name__)

NEVER = float("-inf")
PAUSE_SECONDS = 1.0
"""Before another attempt to open the stream, at most: the time is random, so that not all processes
try at once, and twice as long after each failure."""
MAX_PAUSE_SECONDS = 5.0
MAX_REFUSALS = 3
UNCONFIRMED_SECONDS = 15.0
"""What was read so long before the stream failed is read again: the primary may have lost it."""
STOP_SECONDS = 5.0
HOUSEKEEPING_SECONDS = 0.5
HEARTBEAT_SECONDS = 0.25
"""Between two heartbeats; a quarter of TENANT_STALE_SECONDS, if that is less."""
ANSWERS_PER_SECOND = 10.0
BURST = 5
"""How often the server is asked for more than a full batch; BURST more after a quiet time."""


class Watcher:
    """Follows the admin database's changes in threads, which the first question starts."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], *, stale_seconds: float) -> None:
        self._admin_db = admin_db
        self._stale_seconds = stale_seconds
        seconds = max(0.01, min(HEARTBEAT_SECONDS, stale_seconds / 4 or HEARTBEAT_SECONDS))
        self._await_ms = int(2 * seconds * 1000)
        self._beat_seconds = seconds
        self._heartbeat = HeartbeatWriter(admin_db, every=seconds)
        self._proof = PrimaryProof(admin_db, good_for=seconds)
        self._on_tenant: list[Callable[[ObjectId, Mapping[str, Any]], None]] = []
        self._on_revocation: list[Callable[[str, Any], None]] = []
        self._on_cluster: list[Callable[[str, Any], None]] = []
        self._handlers: dict[str, tuple[type, list[Callable[[Any, Any], None]]]] = {
            TENANTS: (ObjectId, self._on_tenant),
            REVOCATIONS: (str, self._on_revocation),
            CLUSTERS: (str, self._on_cluster),
        }
        """By collection: the type of its keys, and who hears of each."""
        self._on_handshake: list[Callable[[ObjectId, ObjectId], None]] = []
        self._on_gap: list[Callable[[], None]] = []
        self._on_pause: list[Callable[[], None]] = []
        self._covered_since: float | None = None
        self._heard_at = NEVER
        self._followed_since = NEVER
        """Since when the stream was followed without a gap, whether it is current or not."""
        self._place: Mapping[str, Any] | None = None
        """The resume token: all changes before it have been told."""
        self._unconfirmed_from, self._unconfirmed_until = -NEVER, NEVER
        self._pace = Pace(per_second=ANSWERS_PER_SECOND, burst=BURST)
        self._failures = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._threads: list[threading.Thread] = []
        self._process = os.getpid()

    def on_tenant_change(self, handler: Callable[[ObjectId], None]) -> None:
        """Call `handler` with the id of each tenant whose record has changed or gone."""
        self._on_tenant.append(lambda tenant_id, _: handler(tenant_id))

    def on_tenant_fields(self, handler: Callable[[ObjectId, Mapping[str, Any]], None]) -> None:
        """The same, with the change as MongoDB tells it."""
        self._on_tenant.append(handler)

    def on_revocation(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the key of each record that withdraws tokens, and has changed."""
        self._on_revocation.append(lambda key, _: handler(key))

    def on_cluster_change(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the name of each cluster whose record has changed or gone."""
        self._on_cluster.append(lambda name, _: handler(name))

    def on_handshake(self, handler: Callable[[ObjectId, ObjectId], None]) -> None:
        """Call `handler` with the id of each handshake that begins, and the tenant's."""
        self._on_handshake.append(handler)

    def on_gap(self, handler: Callable[[], None]) -> None:
        """Call `handler` when any change may have been missed: whatever is known may be old."""
        self._on_gap.append(handler)

    def on_pause(self, handler: Callable[[], None]) -> None:
        """Call `handler` about twice a second, stream or no stream, for work in the background. One
        that takes long delays the others, and nothing else."""
        self._on_pause.append(handler)

    def vouches_for(self, moment: float) -> bool:
        """Whether no change since `moment` (of time.monotonic()) can have been missed."""
        if not self._is_current(self._heard_at):
            self.ensure_running()
            return False
        covered_since = self._covered_since
        unconfirmed = self._unconfirmed_from <= moment < self._unconfirmed_until
        return covered_since is not None and moment >= covered_since and not unconfirmed

    def as_of(self) -> float:
        """Return a moment (of time.monotonic()) such that whatever is read from the admin database
        from now on is at least as new. Raises PyMongo's errors, and DatabaseUnavailable, when no
        server proves that it is the primary."""
        heard_at = self._heard_at
        if self._is_current(heard_at):
            return heard_at
        self.ensure_running()
        return self._proof.moment()

    def _is_current(self, heard_at: float) -> bool:
        recent = time.monotonic() - heard_at <= self._stale_seconds
        return recent and self._process == os.getpid()

    def ensure_running(self) -> None:
        """Start the threads, if this process has not done so."""
        if self._thread is None or self._process != os.getpid() or not self._thread.is_alive():
            self._start()

    def stop(self) -> None:
        """End the threads, for good. May be called again."""
        with self._lock:
            self._stopping.set()
            threads = self._threads if self._process == os.getpid() else []
        deadline = time.monotonic() + STOP_SECONDS
        for thread in threads:
            thread.join(timeout=max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if self._stopping.is_set() or (running and self._process == os.getpid()):
                return
            self._lose()  # before this process counts as the one that has heard a heartbeat
            self._place = None
            self._process = os.getpid()
            works = (self._run, "tenant-watcher"), (self._beat, "heartbeat")
            self._threads = [
                threading.Thread(target=work, name=name, daemon=True)
                for work, name in (*works, (self._keep_house, "housekeeping"))
            ]
            self._thread = self._threads[0]
            for thread in self._threads:
                thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (PyMongoError, DatabaseUnavailable) as error:
                if not self._stopping.is_set():
                    logger.warning("The change stream is down: %s", type(error).__name__)
                if self._has_refused_place(error):
                    self._place = None
            except Exception:  # the thread must go on, whatever a handler did
                logger.exception("The change stream was given up, and begins anew")
                self._place = None
            self._lose()
            longest = min(PAUSE_SECONDS * 2 ** min(self._failures, 10), MAX_PAUSE_SECONDS)
            self._failures += 1
            self._stopping.wait(random.random() * longest)  # noqa: S311  # no secret

    def _follow(self) -> None:
        """Follow the stream until it fails. After an election or a network error that is short,
        PyMongo resumes it by itself, which counts as a failure all the same."""
        opened = open_changes(self._admin_db(), await_ms=self._await_ms, after=self._place)
        with opened as stream:
            if self._place is None:
                self._begin()
                self._heartbeat.begin()
            else:
                self._resume()
            told = 0
            while not self._stopping.is_set() and stream.alive:
                cursor = cursor_of(stream)
                change = stream.try_next()
                if cursor_of(stream) is not cursor:
                    self._lose()
                    self._resume()
                if change is not None:
                    self._tell(change)
                    told += 1
                self._place = stream.resume_token
                if not has_more(stream):
                    there_is_more = told >= BATCH_SIZE
                    self._stopping.wait(SHORTEST if there_is_more else self._pace.seconds())
                    told = 0
        self._place = None  # it has ended, because the database was dropped

    def _has_refused_place(self, error: Exception) -> bool:
        """Whether the server cannot go on from there, or refuses it again and again."""
        if not isinstance(error, OperationFailure) or error.timeout:
            return False
        return error.code in CANNOT_RESUME or self._failures >= MAX_REFUSALS

    def _beat(self) -> None:
        while not self._stopping.is_set():
            self._heartbeat.write_if_due()
            self._stopping.wait(min(self._beat_seconds, self._heartbeat.seconds_until_due))
        # The stream waits for an answer, and is to end now.
        self._heartbeat.write_last()

    def _keep_house(self) -> None:
        while not self._stopping.is_set():
            for handle_pause in self._on_pause:
                try:
                    handle_pause()
                except (PyMongoError, DatabaseUnavailable) as error:
                    logger.warning("Background work waits: %s", type(error).__name__)
                except Exception:  # one kind of work must not keep the others
                    logger.exception("Background work failed")
            self._stopping.wait(HOUSEKEEPING_SECONDS)

    def _begin(self) -> None:
        """From here on every change is heard; what was before may have been missed."""
        for handle_gap in self._on_gap:
            handle_gap()
        self._unconfirmed_from, self._unconfirmed_until = -NEVER, NEVER
        self._covered_since = self._followed_since = time.monotonic()

    def _lose(self) -> None:
        """The stream is not current any more."""
        if self._covered_since is not None:
            read_from = max(self._heard_at - UNCONFIRMED_SECONDS, self._covered_since)
            self._unconfirmed_from = min(self._unconfirmed_from, read_from)
        self._covered_since = None
        self._heard_at = NEVER
        self._heartbeat.pause()

    def _resume(self) -> None:
        """All that was missed will be heard before the next heartbeat is. What was read meanwhile,
        or just before, may have been lost with the primary that has said it."""
        self._unconfirmed_until = time.monotonic()
        self._covered_since = self._followed_since
        self._heartbeat.go_on()

    def _hear_heartbeat(self, change: Any) -> None:
        """All changes that were made before the heartbeat was written have been passed on. It may
        have been on its way for long, so its own time counts, by the database's clock."""
        if change["operationType"] == "delete":  # by hand; the next one makes it anew
            return
        written_at = time.monotonic() - CLOCK.since(change["wallTime"])
        self._heard_at = max(self._heard_at, written_at)
        self._failures = 0
        written = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
        self._heartbeat.hear(written.get("writer"))

    def _tell(self, change: Any) -> None:
        """Pass a change on. One of a whole collection leaves nothing certain."""
        key = change.get("documentKey", {}).get("_id")
        collection = change.get("ns", {}).get("coll")
        kind, handlers = self._handlers.get(collection, (None, ()))
        if kind is not None and isinstance(key, kind):
            for handle in handlers:
                handle(key, change)
        elif collection == HEARTBEATS and key is not None:
            self._hear_heartbeat(change)
        elif collection == HANDSHAKES and key is not None:
            for handle_handshake in self._on_handshake:
                handle_handshake(key, change["fullDocument"]["tenantId"])
        else:
            self._begin()
