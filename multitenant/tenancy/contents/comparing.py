"""Whether two databases hold the same, byte for byte, while one of them is written to.

All documents are compared while the tenant works. What differs, and whatever has changed since the
beginning, is compared once more when nobody writes: that is little, however large the database.
"""

from collections.abc import Iterable
from typing import Any

import pymongo

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.collection_specs import read_specs
from multitenant.tenancy.contents.copying import STEP_SECONDS, Progress
from multitenant.tenancy.contents.expiry import expires
from multitenant.tenancy.contents.following import CHANGED
from multitenant.tenancy.contents.raw_documents import (
    Documents,
    id_of,
    in_batches,
    in_id_batches,
    raw_collection,
    with_ids,
)


def compare(
    source: MongoDatabase, target: MongoDatabase, differing: Documents, progress: Progress
) -> int:
    """Compare every document of both databases, and return how many there are. Those that are not
    the same at this moment are added to `differing`; `progress` is told of the bytes."""
    compared = 0
    for spec in read_specs(source):
        if spec.kind == "view" or expires(spec):
            continue
        known = differing.setdefault(spec.name, {})
        documents = raw_collection(source, spec.name).find(spec.documents).sort("_id", 1)
        for batch in in_batches(one.raw for one in documents):
            here = {id_of(one): one.raw for one in batch}
            there = _documents(target, spec.name, here)
            known |= {_id: _id for _id, document in here.items() if there.get(_id) != document}
            compared += len(here)
            progress(sum(map(len, here.values())))
        only_ids = raw_collection(target, spec.name).find({}, {"_id": 1})
        for ids in in_id_batches(id_of(one) for one in only_ids):
            present = _documents(source, spec.name, ids, {"_id": 1})
            known |= {_id: _id for _id in ids if _id not in present}
    return compared


def ensure_same(source: MongoDatabase, target: MongoDatabase, documents: Documents) -> None:
    """Return if these documents are the same in both, now. Raises BackupError."""
    compared = {spec.name for spec in read_specs(source) if not expires(spec)}
    for name in compared & documents.keys():
        for ids in in_id_batches(documents[name].values()):
            if _documents(source, name, ids) != _documents(target, name, ids):
                raise BackupError(f"Documents of {name!r} are not the same in the copy")


def ensure_same_shape(source: MongoDatabase, target: MongoDatabase) -> None:
    """Return if both have the same collections, options, indexes and views. Raises BackupError."""
    if _shapes(source) != _shapes(target):
        raise BackupError(CHANGED)


def _shapes(db: MongoDatabase) -> list[Any]:
    return [
        (spec.name, spec.kind, spec.options, sorted(spec.indexes, key=lambda one: one["name"]))
        for spec in read_specs(db)
    ]


def _documents(
    db: MongoDatabase, name: str, ids: Iterable[bytes], fields: Any = None
) -> dict[bytes, bytes]:
    with pymongo.timeout(STEP_SECONDS):
        found = raw_collection(db, name).find(with_ids(ids), fields)
        return {id_of(one): one.raw for one in found}
