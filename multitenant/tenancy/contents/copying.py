"""Filling an empty database with collections, from wherever they come.

Documents are passed on as they are, some megabytes at a time. Indexes are made when the documents
are there and counted: that is faster, and none that lets documents expire removes any before.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import pymongo

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.bson_streams import documents_of
from multitenant.tenancy.contents.capped import whole_capped
from multitenant.tenancy.contents.collection_specs import (
    CollectionSpec,
    create_collection,
    create_indexes,
    read_specs,
)
from multitenant.tenancy.contents.platform_marks import find_mark
from multitenant.tenancy.contents.raw_documents import STEP_SECONDS, in_batches
from multitenant.tenancy.contents.refusals import explained
from multitenant.tenancy.contents.snapshots import open_snapshot
from multitenant.tenancy.contents.zero_timestamps import put_zero_timestamps_back

MAX_SECONDS = 24 * 3600.0
"""For one database: no limit of a request applies."""

Progress = Callable[[int], None]
"""Called with the bytes (of BSON) that were written since the last call."""
Contents = Iterable[tuple[CollectionSpec, Iterable[bytes]]]
"""Collections, each with its documents one after another, cut anywhere."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was written."""

    collections: int
    documents: int
    bytes: int


def copy_database(
    source: MongoDatabase,
    target: MongoDatabase,
    progress: Progress,
    *,
    followed: bool | None = None,
) -> Copied:
    """Copy a database, as it is at this moment, into an empty one, which may be on another
    cluster: documents, collections with their options, indexes and views. Of those, all but the
    collections that cannot be `followed` (see CollectionSpec.is_followed); or, with False, these
    and no other, when the target has the rest.

    Raises BackupError when the target is not empty, or the source cannot be read as of one moment
    (see snapshots.py). Then the target holds some part, and is to be dropped.
    """
    if followed is not False:
        _ensure_empty(target)
    with open_snapshot(source) as snapshot:
        contents = (
            (spec, _bytes_of(spec, snapshot.batches))
            for spec in snapshot.specs
            if followed is None or followed is (spec.is_followed or spec.kind == "view")
        )
        copied = _fill(target, contents, progress)
        snapshot.ensure_whole()
    return copied


def fill_database(target: MongoDatabase, contents: Contents, progress: Progress) -> Copied:
    """Make the collections in an empty database; views must come last. Raises BackupError."""
    _ensure_empty(target)
    return _fill(target, contents, progress)


def _ensure_empty(target: MongoDatabase) -> None:
    if read_specs(target):
        raise BackupError(f"The database {target.name} is not empty")


def _fill(target: MongoDatabase, contents: Contents, progress: Progress) -> Copied:
    collections = documents = size = 0
    for spec, chunks in contents:
        with explained(spec.name, f"{spec.name!r} cannot be made"):
            create_collection(target, spec)
        collections += 1
        if spec.kind == "view":
            continue
        written, bytes_written = _fill_collection(target, spec, chunks, progress)
        documents += written
        size += bytes_written
    return Copied(collections, documents, size)


def _fill_collection(
    target: MongoDatabase, spec: CollectionSpec, chunks: Iterable[bytes], progress: Progress
) -> tuple[int, int]:
    collection = target[spec.stored_in]
    # Documents that are older than a validator stay as they are.
    bypass = spec.has_validator or None
    documents = size = 0
    with whole_capped(target, spec) as ensure_room:
        for batch in in_batches(documents_of(chunks)):
            written = sum(len(document.raw) for document in batch)
            with (
                explained(spec.name, f"{spec.name!r} has a document that MongoDB refuses"),
                pymongo.timeout(STEP_SECONDS),
            ):
                ensure_room(size + written)
                collection.insert_many(batch, bypass_document_validation=bypass)
                put_zero_timestamps_back(collection, batch, bypass=bypass)
            documents += len(batch)
            size += written
            progress(written)
    found = collection.count_documents({}) - (find_mark(target, spec.name) is not None)
    # MongoDB may have deleted some by itself, where the collection and no index lets them expire.
    if found != documents and not (found < documents and spec.expires_at_once):
        raise BackupError(f"{spec.name!r} has {found} documents after {documents} were written")
    with explained(spec.name, f"An index of {spec.name!r} cannot be made"):
        create_indexes(target, spec)
    return documents, size


def _bytes_of(
    spec: CollectionSpec, batches: Callable[[CollectionSpec], Iterator[bytes]]
) -> Iterable[bytes]:
    return () if spec.kind == "view" else batches(spec)
