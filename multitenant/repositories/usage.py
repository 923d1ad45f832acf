"""How much is stored in a database."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pymongo
from pymongo.errors import OperationFailure

from multitenant.repositories.bounded_reads import RAW, decode
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.retries import done_again, is_passing

MAX_COLLECTIONS = 1_000
"""How many collections of a database are measured."""
SECONDS = 2.0
"""After this time no more of them are begun with."""
MEASURED_AT_ONCE = 100
"""By one command: MongoDB takes a pipeline of 1,000 stages at the most."""
ALL_SECONDS = 10.0
"""For listing and measuring them together."""
MAX_LISTED = 100_000
"""How many collections of a database are counted."""
BATCH = 1_000
"""So many are listed by one command."""
MAX_NAMED = 100
"""How many collections that were not measured are named."""


BUCKETS = "$storageStats.timeseries.bucketCount"
"""What a time-series collection has for documents."""


@dataclass(slots=True)
class CollectionSizes:
    """`measured` has `name`, `documents`, `bytes` (of data) and `diskBytes` (compressed, with
    indexes) of collections, by name. Of the others, which are `unmeasured_count`, the first are in
    `unmeasured`: `name`, and why, in `message`."""

    measured: list[MongoDocument] = field(default_factory=list)
    unmeasured: list[MongoDocument] = field(default_factory=list)
    unmeasured_count: int = 0

    def leave_out(self, name: str, message: str) -> None:
        """Count a collection as not measured."""
        self.unmeasured_count += 1
        if len(self.unmeasured) < MAX_NAMED:
            self.unmeasured.append({"name": name, "message": message})


def collection_sizes(db: MongoDatabase) -> CollectionSizes:
    """Return the sizes of the database's collections, as far as MAX_COLLECTIONS and SECONDS go.

    One command reads what MongoDB keeps count of for many collections, so its cost does not grow
    with the data. The counts are exact, but for a while after mongod was killed.
    """
    with pymongo.timeout(ALL_SECONDS):
        return _sizes(db)


def _sizes(db: MongoDatabase) -> CollectionSizes:
    deadline = time.monotonic() + SECONDS
    sizes = CollectionSizes()
    names = sorted(islice(_collection_names(db), MAX_LISTED))
    for start in range(0, min(len(names), MAX_COLLECTIONS), MEASURED_AT_ONCE):
        some = names[start : min(start + MEASURED_AT_ONCE, MAX_COLLECTIONS)]
        if start and time.monotonic() > deadline:
            for name in some:
                sizes.leave_out(name, "there was no time left")
        else:
            _measure(db, some, sizes)
    for name in names[MAX_COLLECTIONS:]:
        sizes.leave_out(name, f"only {MAX_COLLECTIONS} collections are measured")
    return sizes


def database_size(db: MongoDatabase) -> MongoDocument:
    """Return how many `documents`, `collections` and `indexes` the database has, the `bytes` of its
    data and its `diskBytes` (compressed, with indexes)."""
    stats = db.command("dbStats")
    return {
        "documents": stats["objects"],
        "collections": stats["collections"],
        "indexes": stats["indexes"],
        "bytes": stats["dataSize"],
        "diskBytes": stats["storageSize"] + stats["indexSize"],
    }


def _collection_names(db: MongoDatabase) -> Iterator[str]:
    """The names of all collections, some of which the driver would refuse to use, or decode."""
    command = {
        "listCollections": 1,
        "nameOnly": True,
        "filter": {"type": "collection"},
        "cursor": {"batchSize": BATCH},
    }
    for collection in _read_all(db, command):
        yield collection["name"]


def _measure(db: MongoDatabase, names: list[str], sizes: CollectionSizes) -> None:
    """Add the sizes of these collections. Where they cannot be measured together, each is alone."""
    try:
        sizes_of_some = islice(_read_all(db, _sizes_command(db, names)), len(names))
        found = {each["name"]: each for each in sizes_of_some}
    except OperationFailure as error:
        if is_passing(error):
            raise
        if len(names) > 1:
            for name in names:
                _measure(db, [name], sizes)
        else:
            sizes.leave_out(names[0], f"MongoDB refuses to measure it (code {error.code})")
        return
    for name in names:
        if name in found:
            sizes.measured.append(found[name])
        else:
            sizes.leave_out(name, "MongoDB does not measure it")


def _sizes_command(db: MongoDatabase, names: list[str]) -> MongoDocument:
    stages: list[dict[str, Any]] = [
        {"$collStats": {"storageStats": {}}},
        {
            "$project": {
                "name": {"$substrBytes": ["$ns", len(db.name.encode()) + 1, -1]},
                "documents": {"$ifNull": ["$storageStats.count", BUCKETS, 0]},
                "bytes": "$storageStats.size",
                "diskBytes": "$storageStats.totalSize",
            }
        },
    ]
    others = [{"$unionWith": {"coll": name, "pipeline": stages}} for name in names[1:]]
    return {"aggregate": names[0], "pipeline": [*stages, *others], "cursor": {}}


def _read_all(db: MongoDatabase, command: MongoDocument) -> Iterator[MongoDocument]:
    """Go through what a command answers with a cursor. PyMongo's methods for it would refuse some
    names of collections."""
    raw = db.with_options(RAW)
    found: Any = done_again(lambda: raw.cursor_command(command, codec_options=RAW))
    with found.batch_size(BATCH) as documents:
        for document in documents:
            yield decode(bytes(document.raw))
