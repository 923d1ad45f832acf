"""Documents as they are stored, byte for byte, and which they are."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from multitenant.repositories.model import MongoDatabase

BATCH_BYTES = 4 * 2**20
BATCH_DOCUMENTS = 5000
IDS = 200
"""Looked up at a time, where their documents may be of any size."""

Documents = dict[str, dict[bytes, Any]]
"""By collection: the `_id` of each document, by its key."""


def raw_collection(db: MongoDatabase, name: str) -> Collection[Any]:
    """Return the collection, whose documents are not decoded."""
    options: CodecOptions[Any] = db.codec_options.with_options(document_class=RawBSONDocument)
    return db.get_collection(name, codec_options=options)


def document_key(_id: Any) -> bytes:
    """Return what tells one `_id` from any other, of whatever type."""
    return bson.encode({"_id": _id})


def in_batches(documents: Iterable[bytes]) -> Iterator[list[RawBSONDocument]]:
    """Go through the documents, some megabytes at a time."""
    batch: list[RawBSONDocument] = []
    size = 0
    for document in documents:
        batch.append(RawBSONDocument(document))
        size += len(document)
        if size >= BATCH_BYTES or len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def in_id_batches(ids: Iterable[Any]) -> Iterator[list[Any]]:
    """Go through ids, so many at a time that their documents can be looked up."""
    rest = iter(ids)
    while batch := list(islice(rest, IDS)):
        yield batch
