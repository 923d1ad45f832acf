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

import pymongo
from pymongo.change_stream import ChangeStream
from pymongo.errors import BulkWriteError, OperationFailure

from multitenant.errors import BackupError
from multitenant.repositories.error_codes import CHANGE_STREAM_HISTORY_LOST, DUPLICATE_KEY
from multitenant.repositories.error_kinds import codes_of, write_errors
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.retries import done_again
from multitenant.repositories.turns import delete_turns, take_turn
from multitenant.tenancy.contents.collection_specs import NEVER_COPIED, read_specs
from multitenant.tenancy.contents.copying import STEP_SECONDS
from multitenant.tenancy.contents.expiry import expired
from multitenant.tenancy.contents.raw_documents import (
    Documents,
    document_key,
    in_batches,
    in_id_batches,
    raw_collection,
)
from multitenant.tenancy.contents.refusals import explained

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
HISTORY_LOST = (
    "Its changes could not be followed: the oplog does not reach back to when the copy began."
    " Enlarge it (replSetResizeOplog), and run it again"
)

MARKER = "move"
"""A turn in the original that is taken to see its event come."""


class Follower:
    """Knows what has changed in `source` and is not in `target` yet."""

    def __init__(
        self, source: MongoDatabase, target: MongoDatabase, stream: ChangeStream[Any]
    ) -> None:
        self._source = source
        self._target = target
        self._stream = stream
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
        deleted by itself, since it had expired, was written by nobody."""
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
        self, collection: str, ids: dict[bytes, Any], expiry: MongoDocument
    ) -> dict[bytes, Any]:
        """Return those that the copy has and that have not expired: one that the copy does not
        have is lost to nobody."""
        found: dict[bytes, Any] = {}
        for batch in in_id_batches(ids.values()):
            wanted = {"_id": {"$in": batch}, "$nor": [expiry]}
            with pymongo.timeout(STEP_SECONDS):
                documents = raw_collection(self._target, collection).find(wanted, {"_id": 1})
                found |= {document_key(one["_id"]): one["_id"] for one in documents}
        return found

    def _changes(self) -> Iterator[MongoDocument]:
        """Go through the changes until now: a marker is written, and comes back as the last one."""
        with pymongo.timeout(STEP_SECONDS):
            take_turn(self._source, MARKER)
            delete_turns(self._source, MARKER)
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
            if change.get("documentKey", {}).get("_id") != MARKER:
                yield change
            elif change["operationType"] == "delete":
                return

    def _note(self, change: MongoDocument) -> None:
        collection = change.get("ns", {}).get("coll")
        if collection in NEVER_COPIED:
            return
        if change["operationType"] not in WRITES:
            raise BackupError(CHANGED)
        _add(self._changed, change)
        if self._seen is not None:
            _add(self._seen, change)

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

    def _copy(self, collection: str, ids: list[Any]) -> list[bytes]:
        """Make these documents of the copy what they are in the original; return the keys of those
        that a unique index refuses. May be done again."""
        wanted = {"_id": {"$in": ids}}
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
                refused += [
                    document_key(documents[one["index"]]["_id"]) for one in write_errors(error)
                ]
        return refused

    def _bypasses(self, collection: str) -> bool | None:
        options = self._target[collection].options()
        return "validator" in options or None


@contextmanager
def following(source: MongoDatabase, target: MongoDatabase) -> Iterator[Follower]:
    """Yield what follows the changes of `source` from now on; to be opened before it is copied."""
    # So that the collection of the marker is there, and copied. Its own name, for the stream may
    # begin with it.
    take_turn(source, "following")
    delete_turns(source, "following")
    with source.watch(PIPELINE, max_await_time_ms=AWAIT_MS) as stream:
        yield Follower(source, target, stream)


def _add(documents: Documents, change: MongoDocument) -> None:
    _id = change["documentKey"]["_id"]
    documents.setdefault(change["ns"]["coll"], {})[document_key(_id)] = _id


def _count(documents: Documents) -> int:
    return sum(map(len, documents.values()))
