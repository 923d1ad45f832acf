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
from multitenant.tenancy.contents.collection_specs import (
    CollectionSpec,
    create_collection,
    create_indexes,
    read_specs,
)
from multitenant.tenancy.contents.platform_marks import find_mark
from multitenant.tenancy.contents.raw_documents import in_batches
from multitenant.tenancy.contents.refusals import explained
from multitenant.tenancy.contents.snapshots import open_snapshot
from multitenant.tenancy.contents.zero_timestamps import put_zero_timestamps_back

MAX_SECONDS = 24 * 3600.0
"""For one database: no limit of a request applies."""
STEP_SECONDS = 60.0
"""For what never takes long, unless a server is down: some megabytes, or dropping a database."""

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


def copy_database(source: MongoDatabase, target: MongoDatabase, progress: Progress) -> Copied:
    """Copy a database, as it is at this moment, into an empty one, which may be on another
    cluster: documents, collections with their options, indexes and views.

    Raises BackupError when the target is not empty, or the source cannot be read as of one moment
    (see snapshots.py). Then the target holds some part, and is to be dropped.
    """
    with open_snapshot(source) as snapshot:
        contents = ((spec, _bytes_of(spec, snapshot.batches)) for spec in snapshot.specs)
        copied = fill_database(target, contents, progress)
        snapshot.ensure_whole()
    return copied


def fill_database(target: MongoDatabase, contents: Contents, progress: Progress) -> Copied:
    """Make the collections in an empty database; views must come last. Raises BackupError."""
    if read_specs(target):
        raise BackupError(f"The database {target.name} is not empty")
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
    collection = target[spec.name]
    # Documents that are older than a validator stay as they are.
    bypass = "validator" in spec.options or None
    documents = size = 0
    for batch in in_batches(documents_of(chunks)):
        with (
            explained(spec.name, f"{spec.name!r} has a document that MongoDB refuses"),
            pymongo.timeout(STEP_SECONDS),
        ):
            collection.insert_many(batch, bypass_document_validation=bypass)
            put_zero_timestamps_back(collection, batch, bypass=bypass)
        documents += len(batch)
        written = sum(len(document.raw) for document in batch)
        size += written
        progress(written)
    found = collection.count_documents({}) - (find_mark(target, spec.name) is not None)
    if found != documents:
        raise BackupError(f"{spec.name!r} has {found} documents after {documents} were written")
    with explained(spec.name, f"An index of {spec.name!r} cannot be made"):
        create_indexes(target, spec)
    return documents, size


def _bytes_of(
    spec: CollectionSpec, batches: Callable[[CollectionSpec], Iterator[bytes]]
) -> Iterable[bytes]:
    return batches(spec) if spec.kind == "collection" else ()
