"""Collections with the indexes that their schemas declare."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import bson
from bson.codec_options import CodecOptions
from mongoengine import Document
from pymongo.collection import Collection
from pymongo.errors import OperationFailure

from multitenant.repositories.error_codes import NAMESPACE_NOT_FOUND
from multitenant.repositories.index_comparison import is_as_declared
from multitenant.repositories.model import Model, MongoDatabase, MongoDocument

ALWAYS_THERE = "_id_"
AT_ONCE = 10
"""How many collections of one database are made at a time: all of a new tenant's."""


@dataclass(frozen=True, slots=True)
class IndexDrift:
    """One index that is not as declared."""

    collection: str
    index: str
    kind: str
    """`missing`, `different`, or `unknown`: no schema declares it."""


def make_collections(db: MongoDatabase, documents: Iterable[type[Document]], *names: str) -> None:
    """Make the collections of these documents, with their indexes, and others of these names; may
    run again.

    All at a time: a MongoDB may copy its list of all collections for each that it makes alone, and
    does it once for those that are made together.
    """
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="collections") as pool:
        made: list[Future[Any]] = [
            pool.submit(copy_context().run, Model(db, document).ensure_indexes)
            for document in documents
        ]
        # Every collection has this index, so asking for it makes the collection.
        made += [pool.submit(copy_context().run, db[name].create_index, "_id") for name in names]
    for collection in made:
        collection.result()


def find_drift(db: MongoDatabase, documents: Iterable[type[Document]]) -> list[IndexDrift]:
    """Compare the indexes in the database with those that these documents declare."""
    models = [Model(db, document) for document in documents]
    collations = _collations(db, [model.collection.name for model in models])
    return [drift for model in models for drift in _find_drift(model, collations)]


def _collations(db: MongoDatabase, names: list[str]) -> dict[str, Any]:
    """The collations of those collections that have one: indexes take them."""
    wanted = {"name": {"$in": names}, "options.collation": {"$exists": True}}
    return {one["name"]: one["options"]["collation"] for one in db.list_collections(filter=wanted)}


def _find_drift(model: Model, collations: Mapping[str, Any]) -> Iterator[IndexDrift]:
    declared = {
        index.document["name"]: _as_stored(index.document, model.collection.codec_options)
        for index in model.declared_indexes()
    }
    actual = {
        index["name"]: index
        for index in _list_indexes(model.collection)
        if index["name"] != ALWAYS_THERE and not index.get("clustered")
    }
    collation = collations.get(model.collection.name)
    missing = declared.keys() - actual.keys()
    for name in sorted(declared.keys() | actual.keys()):
        if name not in actual:
            kind = "missing"
        elif name in declared:
            if is_as_declared(declared[name], actual[name], collation):
                continue
            kind = "different"
        else:
            # MongoDB makes none beside another one that differs from it by its name alone.
            other_name = any(
                is_as_declared(declared[one], actual[name], collation) for one in missing
            )
            kind = "different" if other_name else "unknown"
        yield IndexDrift(model.collection.name, name, kind)


def _list_indexes(collection: Collection[Any]) -> Iterator[MongoDocument]:
    """Go through the collection's indexes. `Collection.list_indexes()` reads times without their
    zone, and none beyond the year 9999, whatever the client says."""
    try:
        yield from collection.database.cursor_command(
            "listIndexes", collection.name, codec_options=collection.codec_options
        )
    except OperationFailure as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise


def _as_stored(declared: Mapping[str, Any], options: CodecOptions[Any]) -> MongoDocument:
    """Return the index with its values as MongoDB reports them: times in milliseconds and with a
    time zone, patterns as expressions."""
    stored: MongoDocument = bson.decode(bson.encode(declared, codec_options=options), options)
    return stored


def repair_drift(
    db: MongoDatabase, documents: Iterable[type[Document]], drift: Iterable[IndexDrift]
) -> None:
    """Make what is missing, and make anew what is different. What is unknown stays: somebody may
    have made it for a reason."""
    for different in drift:
        if different.kind == "different":
            db[different.collection].drop_index(different.index)
    for document in documents:
        Model(db, document).ensure_indexes()
