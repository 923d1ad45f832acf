"""Keeping Timestamp(0, 0), which MongoDB replaces by its clock in documents that are inserted.

It does so in fields of the document itself, but for `_id`. `bypassEmptyTsReplacement` forbids that
from 6.0.17, 7.0.13 and 8.0 on; what works with every version is what mongorestore does with older
ones: such a document is inserted, and then replaced by itself in an update with a pipeline.
"""

from collections.abc import Sequence
from typing import Any

from bson.raw_bson import RawBSONDocument
from pymongo import UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from multitenant.tenancy.contents.raw_documents import has_zero_timestamp, id_of, with_ids
from multitenant.tenancy.contents.refusals import refused_by_unique_index


def put_zero_timestamps_back(
    collection: Collection[Any], inserted: Sequence[RawBSONDocument], *, bypass: bool | None
) -> list[bytes]:
    """Make documents that were just inserted what they were before; with `bypass`, whatever the
    collection's validator says. Return the `_id`s of those that a unique index refuses then. Raises
    PyMongo's errors for anything else that goes wrong."""
    altered = [document for document in inserted if has_zero_timestamp(document)]
    if not altered:
        return []
    updates = [
        UpdateOne(with_ids([id_of(one)]), [{"$replaceWith": {"$literal": one}}]) for one in altered
    ]
    try:
        collection.bulk_write(updates, ordered=False, bypass_document_validation=bypass)
    except BulkWriteError as error:
        return [id_of(altered[at]) for at in refused_by_unique_index(error)]
    return []
