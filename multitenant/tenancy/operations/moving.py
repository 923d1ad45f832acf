"""Moving a tenant to another cluster while it works.

Its database is copied, and what changes meanwhile is copied again. Then the tenant can only be
read, for a moment: every process has answered that it writes nothing any more, the last changes
are copied, and one transaction of the admin database gives the tenant the copy as its database.
Until that commits the tenant is where it was, and whatever fails is undone; the copy that a killed
process leaves is noted, and nobody's.
"""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from dataclasses import dataclass, field

import pymongo
from bson import ObjectId
from pymongo.errors import OperationFailure, PyMongoError

from multitenant.errors import BackupError, Conflict, DomainError, NotFound
from multitenant.repositories.admin import clusters, provisionings, tenants
from multitenant.repositories.error_codes import UNAUTHORIZED
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.transactions import run_transaction
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.contents.comparing import compare, ensure_same, ensure_same_shape
from multitenant.tenancy.contents.copying import Copied, Progress, copy_database
from multitenant.tenancy.contents.following import Follower, following
from multitenant.tenancy.contents.raw_documents import Documents
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import DatabaseUser, connected_users
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.fresh_databases import FreshDatabase, FreshDatabases
from multitenant.tenancy.lifecycle.maintenance import end_maintenance, maintenance
from multitenant.tenancy.lifecycle.orphans import drop_orphan
from multitenant.tenancy.lifecycle.platform_access import tenant_database
from multitenant.tenancy.lifecycle.switching import switch_database
from multitenant.tenancy.lifecycle.tenant_locks import EnsureHeld, TenantLocks
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.handshakes import shake_hands
from multitenant.tenancy.routing.presence import GONE_SECONDS

logger = logging.getLogger(__name__)

PAUSES = 3
"""How often the tenant is paused, should a process not answer in time."""
ANSWER_SECONDS = 5.0
"""How long the tenant is paused at most before that is given up."""
NO_ANSWER = (
    "A process did not say in time that it writes nothing more: a request takes long, or a process"
    " hangs. Nothing was moved; try again"
)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Moved:
    """What was done."""

    tenant_id: ObjectId
    name: str
    from_cluster: str
    to_cluster: str
    db_name: str
    kept_db_name: str
    documents: int
    bytes: int
    followed: int
    """Documents that were copied again, since they had changed."""
    verified: int | None
    """Documents that were compared; None where that was not wanted."""
    seconds: float
    pause_seconds: float
    """How long the tenant could only be read, from the first refusal to its end."""
    late: int = 0
    """Documents that were written to the old database after the pause all the same."""


@dataclass(frozen=True, slots=True)
class MoveOutcome:
    """What became of one of many tenants."""

    tenant_id: ObjectId
    name: str
    moved: Moved | None = None
    error: str | None = None


class _NoAnswer(Exception):
    """Raised when a process did not say in time that it writes nothing any more."""


class Moves:
    """Moves tenants between the platform's clusters."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        fresh: FreshDatabases,
        *,
        transaction_seconds: float,
    ) -> None:
        self._connections = connections
        self._cipher = cipher
        self._fresh = fresh
        self._transaction_seconds = transaction_seconds

    def move(
        self,
        tenant_id: ObjectId,
        actor: Actor,
        *,
        to: str | None = None,
        verify: bool = True,
        progress: Progress = lambda _: None,
        tell: Tell = lambda _: None,
        seen: MongoDocument | None = None,
    ) -> Moved:
        """Move the tenant to the cluster, or where there is most room; the database that it had is
        kept. `progress` is called with the bytes that were copied, `tell` with what is done then.
        It is moved away from where it is in `seen`, the record that somebody has decided by, or
        when this is called: not from where it has come to be while this waited.

        Raises NotFound, ValidationFailed for a cluster that takes no tenants, Conflict where the
        tenant cannot be moved (now), BackupError where its data cannot be. Whatever is raised, the
        tenant is where it was, unless it is PyMongo's error of a commit whose result is unknown.
        """
        began_at = time.monotonic()
        admin_db = self._connections.admin_db
        seen = seen or tenants.find_tenant(admin_db, tenant_id)
        with (
            TenantLocks(lambda: admin_db) as locks,
            locks.locked(tenant_id) as ensure_locked,
        ):
            record = self._movable(tenant_id, to)
            if seen and any(record[name] != seen[name] for name in ("cluster", "dbName")):
                raise Conflict("The tenant has another database by now; look at it again")
            self._drop_leftovers(tenant_id)
            with (
                tenant_database(self._connections, self._cipher, record) as source,
                self._fresh.prepared(
                    tenant_id,
                    isolation=record["isolation"],
                    uri=None,
                    exists=True,
                    told=to,
                    leaves=record["cluster"],
                ) as fresh,
            ):
                self._ensure_no_shell(source, record)
                with following(source, fresh.db) as follower:
                    move = _Move(
                        record, source, fresh, follower, actor, tell, ensure_locked, began_at
                    )
                    copied = copy_database(source, fresh.db, progress, followed=True)
                    tell(f"Copied {copied.documents} documents ({copied.bytes / 1e6:.1f} MB)")
                    move.add(copied)
                    follower.catch_up_closely()
                    if verify:
                        self._compare(move)
                    return self._pause_and_switch(move)

    def move_all(
        self,
        records: Sequence[MongoDocument],
        actor: Actor,
        *,
        to: str | None = None,
        verify: bool = True,
        parallel: int,
        progress: Progress = lambda _: None,
    ) -> Iterator[MoveOutcome]:
        """Move these tenants, so many at a time, and tell of each as it is done. What fails does
        not end the others."""

        def one(record: MongoDocument) -> MoveOutcome:
            tenant_id, name = record["_id"], record["name"]
            moved = None
            with contained(f"Tenant {tenant_id} was not moved") as failure:
                moved = self.move(
                    tenant_id, actor, to=to, verify=verify, progress=progress, seen=record
                )
            return MoveOutcome(tenant_id, name, moved, failure.message if failure else None)

        with ThreadPoolExecutor(parallel, thread_name_prefix="move") as pool:
            futures = [pool.submit(copy_context().run, one, record) for record in records]
            try:
                yield from (future.result() for future in as_completed(futures))
            finally:
                pool.shutdown(cancel_futures=True)

    def cluster_before(self, tenant_id: ObjectId) -> str:
        """Return the cluster that the tenant was last moved away from. Raises NotFound."""
        for note in provisionings.list_kept(self._connections.admin_db, tenant_id=tenant_id):
            if note.get("moved"):
                return str(note["cluster"])
        raise NotFound("No database is kept that the tenant was moved away from")

    def _movable(self, tenant_id: ObjectId, to: str | None) -> MongoDocument:
        admin_db = self._connections.admin_db
        record = tenants.find_tenant(admin_db, tenant_id)
        if record is None:
            raise NotFound("There is no such tenant")
        if record["system"]:
            raise Conflict(
                "The operators' tenant stays where the admin database is: without it nobody could"
                " do anything about a cluster that is down"
            )
        if record["cluster"] == EXTERNAL_CLUSTER:
            raise Conflict(
                "The tenant is on a server of its own; change `dbUri` once its owner has moved it"
            )
        if record["status"] == "deleted":
            raise Conflict("The tenant is deleted: restore it first (POST …/restore), or purge it")
        if record["cluster"] == to:
            raise Conflict(f"The tenant is on the cluster {to} already")
        if to is None and not self._has_other(record["cluster"]):
            raise Conflict("No other cluster takes tenants: add one, or open one again")
        return record

    def _has_other(self, cluster: str) -> bool:
        every = clusters.list_clusters(self._connections.admin_db)
        return any(one["state"] == "open" and one["_id"] != cluster for one in every)

    def _drop_leftovers(self, tenant_id: ObjectId) -> None:
        """What a killed move has left: whoever were at work would have the tenant's lock."""
        admin_db = self._connections.admin_db
        for note in provisionings.find_unfinished(admin_db, tenant_id):
            with contextlib.suppress(PyMongoError, DomainError):
                drop_orphan(self._connections, self._cipher, note["_id"], note)

    def _ensure_no_shell(self, source: MongoDatabase, record: MongoDocument) -> None:
        """A person who works in the database answers to nobody."""
        try:
            users = connected_users(source)
        except OperationFailure as error:
            if error.code != UNAUTHORIZED:
                raise
            return  # then there are no shells either
        if credentials := record.get("credentials"):
            users -= {DatabaseUser.of(record["_id"], credentials, self._cipher).name}
        if users:
            raise Conflict(
                "Somebody works in its database (`multitenant tenants shell`), or its credentials"
                " have just been changed; try again later"
            )

    def _compare(self, move: "_Move") -> None:
        move.tell("Comparing both databases")
        move.differing = move.follower.remember()
        source, target = move.source, move.fresh.db
        move.verified = compare(source, target, move.differing, lambda _: None)

    def _pause_and_switch(self, move: "_Move") -> Moved:
        admin_db, tenant_id = self._connections.admin_db, move.record["_id"]
        for _ in range(PAUSES):
            self._rehearse(admin_db, tenant_id)
            move.follower.catch_up_closely()
            try:
                return self._switch_in_pause(move)
            except _NoAnswer:
                move.tell("A process is busy with the tenant, which works on and is paused again")
        raise Conflict(NO_ANSWER)

    def _rehearse(self, admin_db: MongoDatabase, tenant_id: ObjectId) -> None:
        """Wait until all processes answer: who does not now would not in the pause. One that was
        killed counts as gone when it was not seen for a while."""
        deadline = time.monotonic() + GONE_SECONDS + ANSWER_SECONDS
        while not shake_hands(admin_db, tenant_id, seconds=ANSWER_SECONDS):
            if time.monotonic() > deadline:
                raise Conflict(NO_ANSWER)

    def _switch_in_pause(self, move: "_Move") -> Moved:
        admin_db, record = self._connections.admin_db, move.record
        paused_at = time.monotonic()
        with maintenance(
            self._connections,
            record,
            transaction_seconds=self._transaction_seconds,
            read_only=True,
        ) as begun:
            with pymongo.timeout(ANSWER_SECONDS + self._transaction_seconds):
                if not shake_hands(admin_db, record["_id"], seconds=ANSWER_SECONDS):
                    raise _NoAnswer
                self._ensure_no_shell(move.source, begun)
            self._copy_the_rest(move)
            with pymongo.timeout(ANSWER_SECONDS + self._transaction_seconds):
                move.follower.finish()
                ensure_same_shape(move.source, move.fresh.db)
                ensure_same(move.source, move.fresh.db, move.differing)
                changed = self._switch(move, begun)
            self._serve_there(changed)
        return self._report(move, time.monotonic() - paused_at)

    def _copy_the_rest(self, move: "_Move") -> None:
        """Copy what cannot be followed, and compare it, while nobody writes."""
        if not move.follower.left_out:
            return
        source, target = move.source, move.fresh.db
        move.add(copy_database(source, target, lambda _: None, followed=False))
        if move.verified is not None:
            move.verified += compare(source, target, move.differing, lambda _: None, followed=False)

    def _switch(self, move: "_Move", begun: MongoDocument) -> MongoDocument:
        admin_db, home = self._connections.admin_db, move.fresh.home

        def write() -> MongoDocument:
            changed = switch_database(
                admin_db,
                self._cipher,
                begun,
                home,
                ensure_locked=move.ensure_locked,
                moving=True,
            )
            details = {"fromCluster": begun["cluster"], "toCluster": home.cluster}
            details |= {"dbName": home.db_name, "keptDbName": begun["dbName"]}
            move.actor.record(admin_db, "tenant.move", begun["_id"], **details)
            return changed

        return run_transaction(
            self._connections.admin_client, write, seconds=self._transaction_seconds
        )

    def _serve_there(self, changed: MongoDocument) -> None:
        """Let the tenant be written to again, once nobody reads the old database any more: they
        would not see it. The tenant has moved; nothing that fails from here on changes that."""
        admin_db, tenant_id = self._connections.admin_db, changed["_id"]
        self._connections.forget(tenant_id)
        answered = False
        with contextlib.suppress(PyMongoError), pymongo.timeout(self._transaction_seconds):
            answered = shake_hands(admin_db, tenant_id, seconds=ANSWER_SECONDS)
        if not answered:
            logger.warning("A process may read the old database of %s for a while", tenant_id)
        if changed["status"] != "maintenance":
            return
        try:
            with pymongo.timeout(self._transaction_seconds):
                end_maintenance(admin_db, changed)
        except PyMongoError as error:
            why = type(error).__name__
            logger.warning("The maintenance of %s ends by itself: %s", tenant_id, why)
        self._connections.forget(tenant_id)

    def _report(self, move: "_Move", pause_seconds: float) -> Moved:
        record, home = move.record, move.fresh.home
        late = 0
        with contextlib.suppress(PyMongoError, BackupError):
            late = move.follower.count_late()
        moved = Moved(
            record["_id"],
            record["name"],
            record["cluster"],
            home.cluster,
            home.db_name,
            record["dbName"],
            move.documents,
            move.bytes,
            move.follower.copied,
            move.verified,
            time.monotonic() - move.began_at,
            pause_seconds,
            late,
        )
        if late:
            logger.error("%s was written to after the tenant had moved", record["dbName"])
        with contextlib.suppress(PyMongoError):
            move.actor.record(
                self._connections.admin_db,
                "tenant.moved",
                record["_id"],
                outcome="failure" if late else "success",
                seconds=round(moved.seconds, 3),
                pauseMs=round(pause_seconds * 1000),
                documents=moved.documents,
                verified=moved.verified,
                lateDocuments=late,
            )
        logger.info("Tenant %s has moved to the cluster %s", record["_id"], home.cluster)
        return moved


@dataclass(slots=True)
class _Move:
    """One move under way."""

    record: MongoDocument
    source: MongoDatabase
    fresh: FreshDatabase
    follower: Follower
    actor: Actor
    tell: Tell
    ensure_locked: EnsureHeld
    began_at: float
    documents: int = 0
    bytes: int = 0
    verified: int | None = None
    differing: Documents = field(default_factory=dict)
    """What is to be compared in the pause."""

    def add(self, copied: Copied) -> None:
        """Count what was copied."""
        self.documents += copied.documents
        self.bytes += copied.bytes
