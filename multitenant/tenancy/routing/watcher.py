"""Hearing of changes in the admin database, as they happen in any process.

A thread follows the change stream of `tenants`, `revocations`, `clusters` and `handshakes`. What
the caches know stays good for as long as the stream is current: every change since then would have
arrived here and have made them forget.

A stream that is silent proves nothing: it may be that of a server which was cut off from the
others and does not know yet that it is no primary any more. So one process writes a heartbeat, and
all see it in their streams, once a majority of the servers has it. Whoever has seen a heartbeat has
heard of everything that was changed before it was written: the stream is current for
TENANT_STALE_SECONDS after that moment. While it is not, the caches read again what is older, and
before that the server has to prove that it is the primary (as_of()).
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.clock import CLOCK
from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin.clusters import COLLECTION as CLUSTERS
from multitenant.repositories.admin.handshakes import COLLECTION as HANDSHAKES
from multitenant.repositories.admin.heartbeats import COLLECTION as HEARTBEATS
from multitenant.repositories.admin.revocations import COLLECTION as REVOCATIONS
from multitenant.repositories.admin.tenants import COLLECTION as TENANTS
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.routing.heartbeat import HeartbeatWriter
from multitenant.tenancy.routing.primary_proof import PrimaryProof

logger = logging.getLogger(__name__)

NEVER = float("-inf")
PAUSE_SECONDS = 0.2
"""Between attempts to open the stream."""
HOUSEKEEPING_SECONDS = 0.5
HEARTBEAT_SECONDS = 0.25
"""Between two heartbeats; a quarter of TENANT_STALE_SECONDS, if that is less."""
PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "ns.coll": {"$in": [TENANTS, REVOCATIONS, CLUSTERS, HANDSHAKES, HEARTBEATS]},
            # Every refresh leaves a record that the old token was used; no cache knows of those.
            "fullDocument.used": {"$ne": True},
            # Of handshakes only the question; the answers are for whoever asks.
            "$or": [{"ns.coll": {"$ne": HANDSHAKES}}, {"operationType": "insert"}],
        }
    }
]


class Watcher:
    """Follows the admin database's changes in a thread, which the first question starts."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], *, stale_seconds: float) -> None:
        self._admin_db = admin_db
        self._stale_seconds = stale_seconds
        seconds = max(0.01, min(HEARTBEAT_SECONDS, stale_seconds / 4 or HEARTBEAT_SECONDS))
        self._await_ms = int(seconds * 1000)
        self._heartbeat = HeartbeatWriter(admin_db, every=seconds)
        self._proof = PrimaryProof(admin_db, good_for=seconds)
        self._on_tenant: list[Callable[[ObjectId], None]] = []
        self._on_revocation: list[Callable[[str], None]] = []
        self._on_cluster: list[Callable[[str], None]] = []
        self._handlers: dict[str, tuple[type, list[Callable[[Any], None]]]] = {
            TENANTS: (ObjectId, self._on_tenant),
            REVOCATIONS: (str, self._on_revocation),
            CLUSTERS: (str, self._on_cluster),
        }
        """By collection: the type of its keys, and who hears of each."""
        self._on_handshake: list[Callable[[ObjectId, ObjectId], None]] = []
        self._on_gap: list[Callable[[], None]] = []
        self._on_pause: list[Callable[[], None]] = []
        self._paused_at = NEVER
        self._covered_since: float | None = None
        self._heard_at = NEVER
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    def on_tenant_change(self, handler: Callable[[ObjectId], None]) -> None:
        """Call `handler` with the id of each tenant whose record has changed or gone."""
        self._on_tenant.append(handler)

    def on_revocation(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the key of each record that withdraws tokens, and has changed."""
        self._on_revocation.append(handler)

    def on_cluster_change(self, handler: Callable[[str], None]) -> None:
        """Call `handler` with the name of each cluster whose record has changed or gone."""
        self._on_cluster.append(handler)

    def on_handshake(self, handler: Callable[[ObjectId, ObjectId], None]) -> None:
        """Call `handler` with the id of each handshake that begins, and the tenant's."""
        self._on_handshake.append(handler)

    def on_gap(self, handler: Callable[[], None]) -> None:
        """Call `handler` when any change may have been missed: whatever is known may be old."""
        self._on_gap.append(handler)

    def on_pause(self, handler: Callable[[], None]) -> None:
        """Call `handler` about twice a second, stream or no stream, for the small work that each
        process has to do in the background."""
        self._on_pause.append(handler)

    def vouches_for(self, moment: float) -> bool:
        """Whether no change since `moment` (of time.monotonic()) can have been missed."""
        if not self._is_current():
            self.ensure_running()
            return False
        covered_since = self._covered_since
        return covered_since is not None and moment >= covered_since

    def as_of(self) -> float:
        """Return a moment (of time.monotonic()) such that whatever is read from the admin database
        from now on is at least as new. Raises PyMongo's errors, and DatabaseUnavailable, when no
        server proves that it is the primary."""
        if self._is_current():
            return self._heard_at
        self.ensure_running()
        return self._proof.moment()

    def _is_current(self) -> bool:
        return (
            time.monotonic() - self._heard_at <= self._stale_seconds
            and self._process == os.getpid()
        )

    def ensure_running(self) -> None:
        """Start the thread, if this process has not done so."""
        if self._thread is None or self._process != os.getpid() or not self._thread.is_alive():
            self._start()

    def stop(self) -> None:
        """End the thread, for good. May be called again."""
        with self._lock:
            self._stopping.set()
            thread = self._thread if self._process == os.getpid() else None
        if thread is not None:
            thread.join(timeout=5)

    def _start(self) -> None:
        with self._lock:
            running = self._thread is not None and self._thread.is_alive()
            if self._stopping.is_set() or (running and self._process == os.getpid()):
                return
            self._process = os.getpid()
            self._covered_since = None
            self._thread = threading.Thread(target=self._run, name="tenant-watcher", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (PyMongoError, DatabaseUnavailable) as error:
                if not self._stopping.is_set():
                    logger.warning("The change stream is down: %s", type(error).__name__)
            except Exception:  # the thread must go on, whatever a handler did
                logger.exception("The change stream was given up, and begins anew")
            self._covered_since = None
            self._keep_house()
            self._stopping.wait(PAUSE_SECONDS)

    def _follow(self) -> None:
        """Follow the stream until it fails. PyMongo resumes it by itself, without a gap, after
        elections and network errors; meanwhile no heartbeat is heard, and so it is not current."""
        with self._admin_db().watch(PIPELINE, max_await_time_ms=self._await_ms) as stream:
            self._begin()
            self._heartbeat.begin()
            while not self._stopping.is_set():
                change = stream.try_next()
                if change is not None:
                    self._tell(change)
                self._heartbeat.write_if_due()
                self._keep_house()

    def _keep_house(self) -> None:
        if time.monotonic() - self._paused_at < HOUSEKEEPING_SECONDS:
            return
        self._paused_at = time.monotonic()
        for handle_pause in self._on_pause:
            try:
                handle_pause()
            except (PyMongoError, DatabaseUnavailable) as error:
                logger.warning("Background work waits: %s", type(error).__name__)
            except Exception:  # one kind of work must not keep the others, or the stream
                logger.exception("Background work failed")

    def _begin(self) -> None:
        """From here on every change is heard; what was before may have been missed."""
        for handle_gap in self._on_gap:
            handle_gap()
        self._covered_since = time.monotonic()

    def _hear_heartbeat(self, change: Any) -> None:
        """All changes that were made before the heartbeat was written have been passed on. It may
        have been on its way for long, so its own time counts, by the database's clock."""
        if change["operationType"] == "delete":  # by hand; the next one makes it anew
            return
        written_at = time.monotonic() - CLOCK.since(change["wallTime"])
        self._heard_at = max(self._heard_at, written_at)
        written = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
        self._heartbeat.hear(written.get("writer"))

    def _tell(self, change: Any) -> None:
        """Pass a change on. One of a whole collection leaves nothing certain."""
        key = change.get("documentKey", {}).get("_id")
        collection = change.get("ns", {}).get("coll")
        kind, handlers = self._handlers.get(collection, (None, ()))
        if kind is not None and isinstance(key, kind):
            for handle in handlers:
                handle(key)
        elif collection == HEARTBEATS and key is not None:
            self._hear_heartbeat(change)
        elif collection == HANDSHAKES and key is not None:
            for handle_handshake in self._on_handshake:
                handle_handshake(key, change["fullDocument"]["tenantId"])
        else:
            self._begin()
