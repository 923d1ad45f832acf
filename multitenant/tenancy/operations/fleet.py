"""Migrating the databases of all tenants.

Each database has its own history (`migrations`), and that decides; the version in the tenant's
record is a copy, which answers quickly whether there is anything to do. One process at a time works
on a database: it holds a lock in the admin database. A run that was killed leaves nothing to
mend: the next one goes on with what is left.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, as_completed, wait
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Self

import pymongo
from bson import ObjectId

from multitenant.errors import Conflict
from multitenant.repositories.admin import tenants
from multitenant.repositories.indexes import IndexDrift, find_drift, repair_drift
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.schemas.tenant import DOCUMENTS
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import Failure, contained
from multitenant.tenancy.identity import ensure_own_database
from multitenant.tenancy.lifecycle.maintenance import ensure_in_maintenance
from multitenant.tenancy.lifecycle.tenant_locks import (
    LOCK_POLL_SECONDS,
    LOCK_WAIT_SECONDS,
    EnsureHeld,
    TenantLocks,
)
from multitenant.tenancy.migrations import (
    TENANT_MIGRATIONS,
    Turn,
    migrate,
    newest_applied,
    roll_back,
)
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.handshakes import await_all_processes

logger = logging.getLogger(__name__)

MAX_SECONDS = 24 * 3600.0
"""For one database: an index of a large collection takes longer than any request may."""
RECORD_SECONDS = 10.0
Work = Callable[[MongoDatabase, Turn], object]

Maintain = Callable[[MongoDocument], AbstractContextManager[MongoDocument]]
"""Keeps a tenant in maintenance; see maintenance() in maintenance.py."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What became of one tenant."""

    tenant_id: ObjectId
    name: str
    before: int | None = None
    """The version of its database; None where that could not be found out."""
    after: int | None = None
    error: str | None = None
    """Why it failed; None when it did not."""
    drift: tuple[IndexDrift, ...] = ()
    """Where it was looked for: indexes that are (or, repaired, were) not as declared."""

    @property
    def touched(self) -> bool:
        """Whether its database is, or may be, at another version now."""
        return self.before is not None and self.before != self.after


class Fleet:
    """All tenants' databases, for the length of one command (a `with` block)."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        *,
        parallel: int,
        maintain: Maintain | None = None,
    ) -> None:
        """At most `parallel` databases are worked on at a time. With `maintain`, each tenant whose
        database is changed is kept by it in maintenance during its own turn."""
        self._connections = connections
        self._cipher = cipher
        self._parallel = parallel
        self._maintain = maintain
        self._locks = TenantLocks(lambda: connections.admin_db)

    def __enter__(self) -> Self:
        self._locks.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._locks.__exit__()

    def migrate(
        self, records: Iterable[MongoDocument], go_on: Callable[[], bool] = lambda: True
    ) -> Iterator[Migrated]:
        """Bring the databases of these tenants to the newest version, and tell of each as it is
        done. What fails does not end the others; when `go_on` says no, no more are begun."""
        newest = TENANT_MIGRATIONS[-1].number

        def work(db: MongoDatabase, turn: Turn) -> None:
            migrate(db, TENANT_MIGRATIONS, turn)

        return self._each(records, work, go_on, to=newest)

    def roll_back(
        self,
        records: Iterable[MongoDocument],
        to: int,
        *,
        seen: Mapping[ObjectId, int] | None = None,
    ) -> Iterator[Migrated]:
        """Take these databases back to that version; with `seen`, only those that are still at the
        version that somebody has decided by."""

        def work(db: MongoDatabase, turn: Turn) -> None:
            roll_back(db, TENANT_MIGRATIONS, to, turn)

        return self._each(records, work, to=to, seen=seen)

    def verify(self, records: Iterable[MongoDocument]) -> Iterator[Migrated]:
        """Look which version these databases really have, and set their records right."""
        return self._each(records, lambda *_: None)

    def compare_indexes(
        self, records: Iterable[MongoDocument], *, repair: bool
    ) -> Iterator[Migrated]:
        """Look for indexes that are not as the schemas declare; mend them with `repair`."""

        def look(db: MongoDatabase, _: Turn) -> list[IndexDrift]:
            drift = find_drift(db, DOCUMENTS)
            if repair:
                repair_drift(db, DOCUMENTS, drift)
            return drift

        return self._each(records, look)

    def undo(self, run: Sequence[Migrated], records: Iterable[MongoDocument]) -> Iterator[Migrated]:
        """Take each database that a run has touched back to where it was before."""
        before = {one.tenant_id: one.before for one in run if one.touched}
        after = {one.tenant_id: one.after for one in run if one.after is not None}
        for version in sorted({version for version in before.values() if version is not None}):
            back = [record for record in records if before.get(record["_id"]) == version]
            yield from self.roll_back(back, version, seen=after)

    def _each(
        self,
        records: Iterable[MongoDocument],
        work: Work,
        go_on: Callable[[], bool] = lambda: True,
        *,
        to: int | None = None,
        seen: Mapping[ObjectId, int] | None = None,
    ) -> Iterator[Migrated]:
        """Do the work on each database; `to` is the version that it leads to, if it changes it."""
        waiting: set[Future[Migrated]] = set()
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="fleet") as pool:
            for record in records:
                if len(waiting) == self._parallel:
                    done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in done)
                if not go_on():
                    break
                version = seen.get(record["_id"]) if seen else None
                waiting.add(pool.submit(copy_context().run, self._one, record, work, to, version))
            yield from (future.result() for future in as_completed(waiting))

    def _one(self, record: MongoDocument, work: Work, to: int | None, seen: int | None) -> Migrated:
        before = after = result = None
        working = Failure()
        admin_db, tenant_id = self._connections.admin_db, record["_id"]
        with (
            contained(f"Tenant {tenant_id} was not reached") as reaching,
            self._locks.locked(tenant_id) as ensure_locked,
        ):
            # As it is now: it may have been purged since, and must not come to be again.
            current = tenants.find_tenant(admin_db, tenant_id)
            if current is None:
                return Migrated(tenant_id, record["name"])
            with self._opened(current) as db:
                before = newest_applied(db)
                if seen not in (None, before):
                    raise Conflict(f"The tenant is at version {before} by now; look at it again")
                if to is not None and to < before:
                    # First, so that a record never says more than its database has, wherever
                    # this ends.
                    self._record(tenant_id, to, ensure_locked)
                with (
                    contained(f"Tenant {tenant_id} was left as it is") as working,
                    self._in_maintenance(
                        current, ensure_locked, needed=to not in (None, before)
                    ) as ensure_alone,
                    pymongo.timeout(MAX_SECONDS),
                ):
                    turn = Turn(self._locks.holder, ensure_alone)
                    if to is not None:
                        turn.take(db)
                    result = work(db, turn)
                after = newest_applied(db)
                self._record(tenant_id, after, ensure_locked)
        failure = working or reaching
        error = failure.message if failure else None
        drift = tuple(result) if isinstance(result, list) else ()
        return Migrated(tenant_id, record["name"], before, after, error, drift)

    def _record(self, tenant_id: ObjectId, version: int, ensure_locked: EnsureHeld) -> None:
        """Write the version into the tenant's record, if nobody else can have changed it since."""
        admin_db = self._connections.admin_db

        def write() -> None:
            ensure_locked()
            tenants.set_schema_version(admin_db, tenant_id, version)

        run_transaction(admin_db.client, write, seconds=RECORD_SECONDS)

    @contextmanager
    def _in_maintenance(
        self, record: MongoDocument, ensure_locked: EnsureHeld, *, needed: bool
    ) -> Iterator[EnsureHeld]:
        """Have all processes refuse the tenant during the block, where that is wanted, and yield
        what makes sure that they still do, and that the lock is held. The block begins when nobody
        works in the tenant any more. Nobody does in a deleted one, while it is deleted."""
        if self._maintain is None or not needed:
            yield ensure_locked
            return
        admin_db = self._connections.admin_db

        def ensure_alone(begun: MongoDocument) -> None:
            ensure_locked()
            ensure_in_maintenance(admin_db, begun)

        if record["status"] == "deleted":
            yield partial(ensure_alone, record)
            return
        self._await_end_of_maintenance(record["_id"])
        # Who does not answer now would not in the maintenance: a killed process is not waited for
        # there.
        await_all_processes(admin_db, record["_id"])
        with self._maintain(record) as begun:
            await_all_processes(admin_db, record["_id"])
            yield partial(ensure_alone, begun)

    def _await_end_of_maintenance(self, tenant_id: ObjectId) -> None:
        """Wait until the maintenance that a killed process has left is over by itself. Whoever
        were alive would have the lock that we have."""
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while time.monotonic() < deadline:
            current = tenants.find_tenant(self._connections.admin_db, tenant_id)
            until = current.get("maintenanceUntil") if current else None
            if current is None or current["status"] != "maintenance" or until is None:
                return
            if until <= utc_now():
                return
            time.sleep(LOCK_POLL_SECONDS)

    @contextmanager
    def _opened(self, record: MongoDocument) -> Iterator[MongoDatabase]:
        uri = decrypt_uri(self._cipher, record.get("dbUri"), record["_id"])
        with (
            self._connections.operator_client(record["cluster"], uri) as client,
            widened_scope(record["dbName"]),
        ):
            db = client[record["dbName"]]
            ensure_own_database(self._connections.admin_db, db, record["_id"])
            yield db
