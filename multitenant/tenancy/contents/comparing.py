"""Whether two databases hold the same, byte for byte, while one of them is written to.

All documents are compared while the tenant works. What differs, and whatever has changed since the
beginning, is compared once more when nobody writes: that is little, however large the database.
Documents that have expired by then may be missing in either, for MongoDB deletes them in each.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import pymongo

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.collection_specs import read_specs
from multitenant.tenancy.contents.copying import Progress
from multitenant.tenancy.contents.expiry import unexpired
from multitenant.tenancy.contents.following import CHANGED
from multitenant.tenancy.contents.raw_documents import (
    STEP_SECONDS,
    Documents,
    id_of,
    in_batches,
    in_id_batches,
    raw_collection,
    with_ids,
)


def compare(
    source: MongoDatabase,
    target: MongoDatabase,
    differing: Documents,
    progress: Progress,
    *,
    followed: bool = True,
) -> int:
    """Compare every document of both databases, of the collections that can be `followed` or of
    those that cannot, and return how many there are. Those that are not the same at this moment are
    added to `differing`; `progress` is told of the bytes."""
    compared = 0
    for spec in read_specs(source):
        if spec.kind == "view" or spec.is_followed is not followed:
            continue
        name = spec.stored_in
        known = differing.setdefault(name, {})
        documents = raw_collection(source, name).find(spec.documents).sort("_id", 1)
        for batch in in_batches(one.raw for one in documents):
            here = {id_of(one): _digest(one.raw) for one in batch}
            there = _digests(target, name, here)
            known |= {_id: _id for _id, document in here.items() if there.get(_id) != document}
            compared += len(here)
            progress(sum(len(one.raw) for one in batch))
        only_ids = raw_collection(target, name).find({}, {"_id": 1})
        for ids in in_id_batches(id_of(one) for one in only_ids):
            present = _digests(source, name, ids, {"_id": 1})
            known |= {_id: _id for _id in ids if _id not in present}
    return compared


def ensure_same(source: MongoDatabase, target: MongoDatabase, documents: Documents) -> None:
    """Return if these documents are the same in both, now. Raises BackupError."""
    for spec in read_specs(source):
        name = spec.stored_in
        for ids in in_id_batches(documents.get(name, {}).values()):
            here, there = _digests(source, name, ids), _digests(target, name, ids)
            changed = any(here[_id] != there[_id] for _id in here.keys() & there.keys())
            if (
                changed
                or unexpired(source, spec, here.keys() - there.keys())
                or unexpired(target, spec, there.keys() - here.keys())
            ):
                raise BackupError(f"Documents of {spec.name!r} are not the same in the copy")


def ensure_same_shape(source: MongoDatabase, target: MongoDatabase) -> None:
    """Return if both have the same collections, options, indexes and views. Raises BackupError."""
    if _shapes(source) != _shapes(target):
        raise BackupError(CHANGED)


def _shapes(db: MongoDatabase) -> list[Any]:
    return [
        (spec.name, spec.kind, spec.options, sorted(spec.indexes, key=lambda one: one["name"]))
        for spec in read_specs(db)
    ]


def _digests(
    db: MongoDatabase, name: str, ids: Iterable[bytes], fields: Any = None
) -> dict[bytes, bytes]:
    """Return the digests of those documents that are there, by their ids: of any size, they may be
    too large to be kept."""
    with pymongo.timeout(STEP_SECONDS):
        found = raw_collection(db, name).find(with_ids(ids), fields)
        return {id_of(one): _digest(one.raw) for one in found}


def _digest(document: bytes | memoryview) -> bytes:
    return blake2b(document, digest_size=32).digest()
