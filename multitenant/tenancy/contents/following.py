"""Bringing a copy of a database up to date with what is written to the original.

A change stream tells *which* documents have changed, and they are copied again as they are when
their turn comes. So nothing depends on the order of changes, on transactions, or on what an update
said: when nobody writes to the original any more, and all that was told has been copied, both are
the same. Until then a unique index of the copy may refuse a document whose old value is still
somebody else's there: it is copied again, later.
"""

import time
from collections.abc import Iterator
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
from multitenant.repositories.error_codes import CHANGE_STREAM_HISTORY_LOST, DUPLICATE_KEY
from multitenant.repositories.error_kinds import codes_of, write_errors
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.retries import done_again
from multitenant.repositories.turns import delete_turns, take_turn
from multitenant.tenancy.contents.collection_specs import FUNCTIONS, read_specs
from multitenant.tenancy.contents.copying import STEP_SECONDS
from multitenant.tenancy.contents.expiry import expired
from multitenant.tenancy.contents.raw_documents import (
    RAW,
    Documents,
    id_of,
    in_batches,
    in_id_batches,
    raw_collection,
    with_ids,
)
from multitenant.tenancy.contents.refusals import explained
from multitenant.tenancy.contents.zero_timestamps import put_zero_timestamps_back

AWAIT_MS = 100
BATCH = 1000
"""Documents that are copied at a time."""
CLOSE_SECONDS = 0.5
CLOSE_DOCUMENTS = 200
ROUNDS = 100
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
        self, source: MongoDatabase, target: MongoDatabase, stream: ChangeStream[Any]
    ) -> None:
        self._source = source
        self._target = target
        self._stream = stream
        self._marker = ObjectId()
        """A turn in the original that is taken to see its event come; nobody else has it."""
        self._marker_id = id_of(RawBSONDocument(bson.encode({"_id": self._marker})))
        self._changed: Documents = {}
        self._seen: Documents | None = None
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
        self._note_functions()
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
            if (ids := deleted.get(spec.name)) and (expiry := expired(spec)):
                deleted[spec.name] = self._unexpired(spec.name, ids, expiry)
        for collection, ids in deleted.items():
            late[collection] = late.get(collection, {}) | ids
        return _count(late)

    def _unexpired(
        self, collection: str, ids: dict[bytes, bytes], expiry: MongoDocument
    ) -> dict[bytes, bytes]:
        """Return those that the copy has and that have not expired: one that the copy does not
        have is lost to nobody."""
        found: dict[bytes, bytes] = {}
        for batch in in_id_batches(ids.values()):
            wanted = {"$and": [with_ids(batch), {"$nor": [expiry]}]}
            with pymongo.timeout(STEP_SECONDS):
                documents = raw_collection(self._target, collection).find(wanted, {"_id": 1})
                found |= {id_of(one): id_of(one) for one in documents}
        return found

    def _changes(self) -> Iterator[MongoDocument]:
        """Go through the changes until now: a marker is written, and comes back as the last one.
        Raises BackupError where the stream ends before: the original was dropped."""
        with pymongo.timeout(STEP_SECONDS):
            take_turn(self._source, self._marker)
            delete_turns(self._source, self._marker)
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

    def _note(self, change: MongoDocument) -> None:
        if change["operationType"] not in WRITES:
            raise BackupError(CHANGED)
        self._note_document(change["ns"]["coll"], id_of(change["documentKey"]))

    def _note_functions(self) -> None:
        """Take all of the tenant's functions as changed: MongoDB's change streams do not tell."""
        for db in (self._source, self._target):
            for function in raw_collection(db, FUNCTIONS).find({}, {"_id": 1}):
                self._note_document(FUNCTIONS, id_of(function))

    def _note_document(self, collection: str, _id: bytes) -> None:
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
                self._changed[collection] = {key: ids[key] for key in refused if key in ids}

    def _copy(self, collection: str, ids: list[bytes]) -> list[bytes]:
        """Make these documents of the copy what they are in the original; return the keys of those
        that a unique index refuses. May be done again."""
        wanted = with_ids(ids)
        target = raw_collection(self._target, collection)
        target.delete_many(wanted)
        found = raw_collection(self._source, collection).find(wanted)
        refused: list[bytes] = []
        for documents in in_batches(one.raw for one in found):
            try:
                # Documents that are older than a validator stay as they are.
                target.insert_many(
                    documents, ordered=False, bypass_document_validation=self._bypasses(collection)
                )
            except BulkWriteError as error:
                if codes_of(error) != {DUPLICATE_KEY}:
                    raise
                refused += [id_of(documents[one["index"]]) for one in write_errors(error)]
            bypass = self._bypasses(collection)
            refused += put_zero_timestamps_back(target, documents, bypass=bypass)
        return refused

    def _bypasses(self, collection: str) -> bool | None:
        options = self._target[collection].options()
        return "validator" in options or None


@contextmanager
def following(source: MongoDatabase, target: MongoDatabase) -> Iterator[Follower]:
    """Yield what follows the changes of `source` from now on; to be opened before it is copied."""
    # So that the collection of the marker is there, and copied. Its own name, for the stream may
    # begin with it.
    turn = ObjectId()
    take_turn(source, turn)
    delete_turns(source, turn)
    raw = source.with_options(codec_options=RAW)
    with raw.watch(PIPELINE, max_await_time_ms=AWAIT_MS) as stream:
        yield Follower(source, target, stream)


def _add(documents: Documents, change: MongoDocument) -> None:
    _id = id_of(change["documentKey"])
    documents.setdefault(change["ns"]["coll"], {})[_id] = _id


def _count(documents: Documents) -> int:
    return sum(map(len, documents.values()))
