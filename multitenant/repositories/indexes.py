"""Collections with the indexes that their schemas declare."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from mongoengine import Document

from multitenant.repositories.model import Model, MongoDatabase

COMPARED = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression")
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
    found = []
    for model in (Model(db, document) for document in documents):
        declared = {index.document["name"]: index.document for index in model.declared_indexes()}
        actual = {index["name"]: index for index in model.collection.list_indexes()}
        for name in sorted((declared.keys() | actual.keys()) - {ALWAYS_THERE}):
            if name not in actual:
                kind = "missing"
            elif name not in declared:
                kind = "unknown"
            elif _differ(declared[name], actual[name]):
                kind = "different"
            else:
                continue
            found.append(IndexDrift(model.collection.name, name, kind))
    return found


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


def _differ(declared: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    if list(declared["key"].items()) != list(actual["key"].items()):
        return True
    if any(declared.get(option) != actual.get(option) for option in COMPARED):
        return True
    wanted, present = declared.get("collation"), actual.get("collation")
    if wanted is None or present is None:
        return wanted is not present
    return any(present.get(name) != value for name, value in wanted.items())
