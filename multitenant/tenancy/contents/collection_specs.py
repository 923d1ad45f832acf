"""What a collection is besides its documents: its options and its indexes.

Copies and backups make collections anew from this. It may come from a file that somebody has
changed, so nothing in it is taken that is not expected. What comes from MongoDB is not decoded, but
for the names of options: a validator or a pipeline may hold any value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from bson import ObjectId
from pymongo.errors import OperationFailure

from multitenant.errors import BackupError
from multitenant.repositories.durability import CONFIRMED
from multitenant.repositories.error_codes import NAMESPACE_NOT_FOUND
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.tenancy.contents.platform_marks import find_mark
from multitenant.tenancy.contents.raw_documents import RAW

Kind = Literal["collection", "view"]

ALWAYS_THERE = "_id_"
FUNCTIONS = "system.js"
"""The tenant's own functions: the one collection that is called `system.…` and is not MongoDB's."""
MAX_NAME_BYTES = 253
"""Of a collection: with the shortest name of a database before it, MongoDB takes 255."""
OPTIONS: dict[Kind, frozenset[str]] = {
    "collection": frozenset(
        {"capped", "size", "max", "collation", "validator", "validationLevel", "validationAction"}
        | {"clusteredIndex", "changeStreamPreAndPostImages", "expireAfterSeconds"}
        | {"storageEngine", "indexOptionDefaults", "encryptedFields"}
    ),
    "view": frozenset({"viewOn", "pipeline", "collation"}),
}
SIMPLE = {"locale": "simple"}
MADE_BY_MONGODB = ("ns", "background")
"""What older servers tell of an index, and none takes."""


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """One collection, or view, of a database."""

    name: str
    kind: Kind
    options: MongoDocument = field(default_factory=dict)
    indexes: tuple[MongoDocument, ...] = ()
    """As MongoDB lists them, the one of `_id` included."""
    uuid: str = ""
    """32 hex digits, another for each collection of that name there ever was."""
    documents: MongoDocument = field(default_factory=dict)
    """A query for those that are the tenant's: all but a mark of the platform."""

    def ensure_sound(self) -> None:
        """Return if it can be made in a tenant's database and is nothing but a collection there.
        Raises BackupError."""
        ensure_name(self.name)
        if unknown := self.options.keys() - OPTIONS[self.kind]:
            told = ", ".join(sorted(unknown))
            raise BackupError(f"{self.name!r} has options that are not taken: {told}")
        for index in self.indexes:
            if not isinstance(index.get("key"), Mapping) or not isinstance(index.get("name"), str):
                raise BackupError(f"{self.name!r} has an index without a name or keys")


def ensure_name(name: str) -> None:
    """Return if a collection of a tenant may have this name. Raises BackupError."""
    if not name or len(name.encode(errors="replace")) > MAX_NAME_BYTES or "\0" in name:
        raise BackupError(f"{name[:80]!r} is no name of a collection")
    if name.startswith(".") or name.endswith(".") or ".." in name or "$" in name:
        raise BackupError(
            f"{name!r} is no name of a collection that MongoDB's drivers take: rename the"
            " collection, or drop it"
        )
    if is_mongodbs_own(name):
        raise BackupError(f"{name!r} is no name of a tenant's collection")


def is_mongodbs_own(name: str) -> bool:
    """Whether a collection of this name is MongoDB's, and not the tenant's."""
    return name.startswith("system.") and name != FUNCTIONS


def read_specs(db: MongoDatabase) -> tuple[CollectionSpec, ...]:
    """Return the collections of the database by name, and then its views, without MongoDB's own
    and the platform's marks. Raises BackupError for one that cannot be copied: a time-series
    collection, and one whose name PyMongo refuses."""
    found = []
    for listed in db.cursor_command("listCollections", codec_options=RAW):
        name, kind = listed["name"], listed.get("type", "collection")
        if is_mongodbs_own(name):
            continue
        ensure_name(name)
        if kind not in OPTIONS:
            raise BackupError(f"The collection {name!r} is a {kind} collection: not supported")
        options = dict(listed.get("options", {}))
        if kind == "view":
            found.append(CollectionSpec(name, kind, options))
            continue
        indexes = _read_indexes(db, name)
        mark = find_mark(db, name)
        if mark and not options and len(indexes) == 1 and _has_one_document(db, name):
            continue
        uuid = bytes(listed.get("info", {}).get("uuid") or b"").hex()
        documents = {"_id": {"$ne": mark["_id"]}} if mark else {}
        found.append(CollectionSpec(name, kind, options, indexes, uuid, documents))
    return tuple(sorted(found, key=lambda spec: (spec.kind, spec.name)))


def create_collection(db: MongoDatabase, spec: CollectionSpec) -> None:
    """Make the collection or view, without its indexes. It must not be there, unless it has nothing
    but a mark of the platform, which stays."""
    spec.ensure_sound()
    mark = find_mark(db, spec.name)
    if mark is None:
        db.command({"create": spec.name, **spec.options, **CONFIRMED})
        return
    # MongoDB gives options to new collections only, and the database must not be without its mark.
    marked = f"{spec.name}.{ObjectId()}"
    db.command({"create": marked, **spec.options, **CONFIRMED})
    bypass = "validator" in spec.options or None
    db[marked].insert_one(mark, bypass_document_validation=bypass)
    db[marked].rename(spec.name, dropTarget=True)


def create_indexes(db: MongoDatabase, spec: CollectionSpec) -> None:
    """Make its indexes, which may take long."""
    # One that names no collation compares simply; made anew it would get the collection's.
    inherited = {"collation": SIMPLE} if "collation" in spec.options else {}
    wanted = [
        inherited
        | {option: value for option, value in index.items() if option not in MADE_BY_MONGODB}
        for index in spec.indexes
        if index["name"] != ALWAYS_THERE and not index.get("clustered")
    ]
    if wanted:
        command: dict[str, Any] = {"createIndexes": spec.name, "indexes": wanted, **CONFIRMED}
        db.command(command)


def _read_indexes(db: MongoDatabase, name: str) -> tuple[MongoDocument, ...]:
    try:
        listed = db.cursor_command("listIndexes", name, codec_options=RAW)
        return tuple(dict(index) for index in listed)
    except OperationFailure as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise
        return ()  # it was dropped just now


def _has_one_document(db: MongoDatabase, name: str) -> bool:
    return db[name].count_documents({}, limit=2) == 1
