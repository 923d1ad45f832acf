"""Reading a whole database as it was at one moment, while it is written to.

MongoDB reads the past for as long as it keeps it: `minSnapshotHistoryWindowInSeconds`, five minutes
unless set. A cursor that is open when that has passed fails as well (measured with 6.0). Of capped
collections it reads no past at all: those are read as they are when their turn comes.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.errors import OperationFailure

from multitenant.errors import BackupError
from multitenant.repositories.error_codes import (
    QUERY_PLAN_KILLED,
    SNAPSHOT_TOO_OLD,
    SNAPSHOT_UNAVAILABLE,
)
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.collection_specs import CollectionSpec, read_specs

ATTEMPTS = 5
PAUSE_SECONDS = 0.2
CHANGED = (
    "Collections were made, dropped or renamed meanwhile (by a migration?), and MongoDB cannot read"
    " those of the past: run it again"
)
TOO_OLD = (
    "Reading it takes longer than MongoDB keeps the past, which is five minutes unless set. Set"
    " minSnapshotHistoryWindowInSeconds on every server of the replica set, such as"
    " db.adminCommand({setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}), and run it again"
)


class Snapshot:
    """A database at one moment."""

    def __init__(
        self,
        db: MongoDatabase,
        session: ClientSession,
        specs: tuple[CollectionSpec, ...],
    ) -> None:
        self._db = db
        self._session = session
        self.specs = specs
        """Its collections and views, in the order of read_specs()."""

    @property
    def taken_at(self) -> Timestamp | None:
        """The moment, in the cluster's time; None for a database without collections."""
        return self._session._snapshot_time  # noqa: SLF001  # nothing public tells; a test does

    def batches(self, spec: CollectionSpec) -> Iterator[bytes]:
        """Go through the documents of the collection: each batch holds some, one after another.

        Raises BackupError when MongoDB does not have that moment any more.
        """
        session = self._session if _has_a_past(spec) else None
        found = self._db[spec.stored_in].find_raw_batches(spec.documents, session=session)
        with _explained(), found as cursor:
            yield from cursor

    def ensure_whole(self) -> None:
        """Return if all that was read is as it was at the moment of the snapshot. To be called
        at the end: a collection that was dropped reads like an empty one. Raises BackupError."""
        now = {(spec.name, spec.uuid) for spec in read_specs(self._db)}
        if not {(spec.name, spec.uuid) for spec in self.specs} <= now:
            raise BackupError(CHANGED)


@contextmanager
def open_snapshot(db: MongoDatabase) -> Iterator[Snapshot]:
    """Yield the database as it is now, for reading. Raises BackupError where that cannot be: see
    Snapshot, and read_specs()."""
    for attempt in range(ATTEMPTS):
        with db.client.start_session(snapshot=True) as session:
            specs = read_specs(db)
            with _explained():
                _fix_moment(db, session, specs)
            # The list is of the present only; the same before and after, it was so in between.
            if read_specs(db) == specs:
                yield Snapshot(db, session, specs)
                return
        time.sleep(PAUSE_SECONDS * attempt)
    raise BackupError(CHANGED)


def _fix_moment(
    db: MongoDatabase, session: ClientSession, specs: tuple[CollectionSpec, ...]
) -> None:
    """The first read decides the moment; only one of a collection that exists does."""
    for spec in filter(_has_a_past, specs):
        db[spec.stored_in].find_one({}, {"_id": 1}, session=session)
        return


def _has_a_past(spec: CollectionSpec) -> bool:
    return spec.kind != "view" and not spec.is_capped


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OperationFailure as error:
        if error.code == SNAPSHOT_TOO_OLD:
            raise BackupError(TOO_OLD) from error
        if error.code in (SNAPSHOT_UNAVAILABLE, QUERY_PLAN_KILLED):
            raise BackupError(CHANGED) from error
        raise
