"""Bringing a copy of a database up to date with what is written to the original.

A change stream tells *which* documents have changed, and they are copied again as they are when
their turn comes. So nothing depends on the order of changes, on transactions, or on what an update
said: when nobody writes to the original any more, and all that was told has been copied, both are
the same. Until then a unique index of the copy may refuse a document whose old value is still
somebody else's there: it is copied again, later.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import bson
import pymongo
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.change_stream import ChangeStream
from pymongo.errors import BulkWriteError, OperationFailure

from multitenant.errors import BackupError
from multitenant.repositories.error_codes import CHANGE_STREAM_HISTORY_LOST
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.retries import done_again
from multitenant.repositories.transactions import in_transaction
from multitenant.tenancy.contents.collection_specs import CollectionSpec, read_specs
from multitenant.tenancy.contents.expiry import expires, unexpired
from multitenant.tenancy.contents.raw_documents import (
    RAW,
    STEP_SECONDS,
    Documents,
    id_of,
    in_batches,
    raw_collection,
    with_ids,
)
from multitenant.tenancy.contents.refusals import explained, refused_by_unique_index
from multitenant.tenancy.contents.zero_timestamps import put_zero_timestamps_back
from multitenant.tenancy.migrations import COLLECTION as MIGRATIONS

AWAIT_MS = 100
BATCH = 1000
"""Documents that are copied at a time."""
CLOSE_SECONDS = 0.5
CLOSE_DOCUMENTS = 200
ROUNDS = 100
MARKED = MIGRATIONS
"""The collection of the marker: there is no tenant's database without it."""
WRITES = ("insert", "update", "replace", "delete")
PIPELINE: list[dict[str, Any]] = [{"$project": {"operationType": 1, "ns": 1, "documentKey": 1}}]
CHANGED = (
    "Collections were made, dropped, renamed or indexed meanwhile (by a migration?); run it again"
)
DROPPED = "The database was dropped meanwhile"
HISTORY_LOST = (
    "Its changes could not be followed: the oplog does not reach back to when the copy began."
    " Enlarge it (replSetResizeOplog), and run it again"
)


class Follower:
    """Knows what has changed in `source` and is not in `target` yet."""

    def __init__(
        self,
        source: MongoDatabase,
        target: MongoDatabase,
        stream: ChangeStream[Any],
        specs: Iterable[CollectionSpec],
    ) -> None:
        """`specs` are the collections of `source` when it began."""
        self._source = source
        self._target = target
        self._stream = stream
        self._marker = ObjectId()
        """A document that is written to the original to see its event come; nobody else has it."""
        self._marker_id = id_of(RawBSONDocument(bson.encode({"_id": self._marker})))
        self._changed: Documents = {}
        self._seen: Documents | None = None
        self.left_out = {
            spec.name for spec in specs if not (spec.is_followed or spec.kind == "view")
        }
        """Collections of which no change stream tells all: to be copied when nobody writes."""
        self._validated = {spec.name for spec in specs if spec.has_validator}
        self.copied = 0
        """How many documents were copied again."""

    def catch_up(self) -> int:
        """Copy all that has changed until now, and return how many documents that were. What a
        unique index has refused waits for the next time. Raises BackupError when it cannot go on:
        see CHANGED and HISTORY_LOST."""
        before = self.copied
        for change in self._changes():
            self._note(change)
            if _count(self._changed) >= BATCH:
                self._copy_changed()
        self._copy_changed()
        return self.copied - before

    def catch_up_closely(self) -> None:
        """Catch up again and again, until little is left for the next time. Raises BackupError also
        when it is written to faster than that can be copied."""
        for _ in range(ROUNDS):
            began_at = time.monotonic()
            documents = self.catch_up()
            if time.monotonic() - began_at < CLOSE_SECONDS and documents < CLOSE_DOCUMENTS:
                return
        raise BackupError("It is written to faster than its changes can be copied; try again later")

    def finish(self) -> None:
        """Catch up for the last time: nobody writes to the original any more. Raises BackupError
        also when something cannot be copied."""
        self.catch_up()
        left = _count(self._changed)
        while left:
            self._copy_changed()
            if _count(self._changed) >= left:
                raise BackupError("Documents are left that a unique index of the copy refuses")
            left = _count(self._changed)

    def remember(self) -> Documents:
        """Return what will have, from now on, all documents that have changed."""
        self._seen = {collection: dict(ids) for collection, ids in self._changed.items()}
        return self._seen

    def count_late(self) -> int:
        """Return how many documents were written since, without copying them. What MongoDB has
        deleted by itself, since it had expired, was written by nobody. Raises BackupError."""
        late: Documents = {}
        deleted: Documents = {}
        for change in self._changes():
            if change["operationType"] in WRITES:
                _add(deleted if change["operationType"] == "delete" else late, change)
        for spec in read_specs(self._source):
            if (ids := deleted.get(spec.name)) and expires(spec):
                # One that the copy does not have any more is lost to nobody.
                deleted[spec.name] = {_id: _id for _id in unexpired(self._target, spec, ids)}
        for collection, ids in deleted.items():
            late[collection] = late.get(collection, {}) | ids
        return _count(late)

    def _changes(self) -> Iterator[MongoDocument]:
        """Go through the changes until now: a marker is written, and comes back as the last one.
        Raises BackupError where the stream ends before: the original was dropped."""
        with pymongo.timeout(STEP_SECONDS):
            in_transaction(self._source, self._write_marker)
        while True:
            try:
                with pymongo.timeout(STEP_SECONDS):
                    change = self._stream.try_next()
            except OperationFailure as error:
                if error.code == CHANGE_STREAM_HISTORY_LOST:
                    raise BackupError(HISTORY_LOST) from error
                raise
            if change is None:
                continue
            if change["operationType"] == "invalidate":
                raise BackupError(DROPPED)
            key = change.get("documentKey")
            if key is None or id_of(key) != self._marker_id:
                yield change
            elif change["operationType"] == "delete":
                return

    def _write_marker(self) -> None:
        """In a transaction, so that it is never left there."""
        marked = self._source[MARKED]
        marked.insert_one({"_id": self._marker}, bypass_document_validation=self._bypass(MARKED))
        marked.delete_one({"_id": self._marker})

    def _note(self, change: MongoDocument) -> None:
        if change["operationType"] not in WRITES:
            raise BackupError(CHANGED)
        collection, _id = change["ns"]["coll"], id_of(change["documentKey"])
        if collection in self.left_out:
            return
        self._changed.setdefault(collection, {})[_id] = _id
        if self._seen is not None:
            self._seen.setdefault(collection, {})[_id] = _id

    def _copy_changed(self) -> None:
        changed, self._changed = self._changed, {}
        for collection, ids in changed.items():
            with (
                explained(collection, f"{collection!r} has a document that MongoDB refuses"),
                pymongo.timeout(STEP_SECONDS),
            ):
                refused = done_again(partial(self._copy, collection, [*ids.values()]))
            self.copied += len(ids)
            if refused:
                self._changed[collection] = {_id: _id for _id in refused}

    def _copy(self, collection: str, ids: list[bytes]) -> list[bytes]:
        """Make these documents of the copy what they are in the original; return the keys of those
        that a unique index refuses. May be done again."""
        wanted = with_ids(ids)
        target = raw_collection(self._target, collection)
        # Documents that are older than a validator stay as they are.
        bypass = self._bypass(collection)
        target.delete_many(wanted)
        found = raw_collection(self._source, collection).find(wanted)
        refused: list[bytes] = []
        for documents in in_batches(one.raw for one in found):
            try:
                target.insert_many(documents, ordered=False, bypass_document_validation=bypass)
            except BulkWriteError as error:
                refused += [id_of(documents[at]) for at in refused_by_unique_index(error)]
            refused += put_zero_timestamps_back(target, documents, bypass=bypass)
        return refused

    def _bypass(self, collection: str) -> bool | None:
        return collection in self._validated or None


@contextmanager
def following(source: MongoDatabase, target: MongoDatabase) -> Iterator[Follower]:
    """Yield what follows the changes of `source` from now on; to be opened before it is copied."""
    raw = source.with_options(codec_options=RAW)
    with raw.watch(PIPELINE, max_await_time_ms=AWAIT_MS) as stream:
        yield Follower(source, target, stream, read_specs(source))


def _add(documents: Documents, change: MongoDocument) -> None:
    _id = id_of(change["documentKey"])
    documents.setdefault(change["ns"]["coll"], {})[_id] = _id


def _count(documents: Documents) -> int:
    return sum(map(len, documents.values()))
