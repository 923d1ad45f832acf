"""What a collection is besides its documents: its options and its indexes.

Copies and backups make collections anew from this. It may come from a file that somebody has
changed, so nothing in it is taken that is not expected. What comes from MongoDB is not decoded, but
for the names of options: a validator or a pipeline may hold any value.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bson import ObjectId
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo.errors import OperationFailure

from multitenant.errors import BackupError
from multitenant.repositories.durability import run_confirmed
from multitenant.repositories.error_codes import NAMESPACE_NOT_FOUND
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.tenancy.contents.platform_marks import find_mark
from multitenant.tenancy.contents.raw_documents import RAW, STRICT

Kind = Literal["collection", "timeseries", "view"]

ALWAYS_THERE = "_id_"
USUAL_VERSION = 2
"""Of an index of `_id`, unless it was made otherwise."""
FUNCTIONS = "system.js"
"""The tenant's own functions: the one collection that is called `system.…` and is not MongoDB's."""
BUCKETS = "system.buckets."
"""What the collection begins with in which the documents of a time-series collection are."""
LEFT_OUT = {"system.views", "system.profile"}
"""What MongoDB writes itself: views are listed as such."""
MAX_NAME_BYTES = 253
"""Of a collection: with the shortest name of a database before it, MongoDB takes 255."""
OPTIONS: dict[Kind, frozenset[str]] = {
    "collection": frozenset(
        {"capped", "size", "max", "collation", "validator", "validationLevel", "validationAction"}
        | {"clusteredIndex", "changeStreamPreAndPostImages", "expireAfterSeconds"}
        | {"storageEngine", "indexOptionDefaults", "encryptedFields"}
        | {"autoIndexId", "recordPreImages"}
    ),
    "timeseries": frozenset(
        {"timeseries", "expireAfterSeconds", "collation", "storageEngine", "indexOptionDefaults"}
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

    @property
    def stored_in(self) -> str:
        """The collection that has its documents: of a time-series collection MongoDB's own."""
        return f"{BUCKETS}{self.name}" if self.kind == "timeseries" else self.name

    @property
    def has_validator(self) -> bool:
        """Whether MongoDB may refuse documents that it has let in before."""
        return "validator" in self.options or "encryptedFields" in self.options

    @property
    def expires_at_once(self) -> bool:
        """Whether its documents may expire before it has any index."""
        return "expireAfterSeconds" in self.options

    @property
    def is_capped(self) -> bool:
        """Whether MongoDB deletes its oldest documents to make room."""
        return bool(self.options.get("capped"))

    @property
    def is_followed(self) -> bool:
        """Whether a change stream of the database tells of all that becomes of its documents: it
        does not of measurements, of functions, and of what is deleted to make room."""
        return self.kind == "collection" and not self.is_capped and self.name != FUNCTIONS

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
    and the platform's marks. Raises BackupError for one that cannot be copied: one whose name
    PyMongo refuses, or that is MongoDB's and belongs to no time-series collection."""
    every = db.cursor_command("listCollections", codec_options=RAW)
    listed = {one["name"]: one for one in map(_decoded, every)}
    kinds = {name: one.get("type", "collection") for name, one in listed.items()}
    buckets = {f"{BUCKETS}{name}" for name, kind in kinds.items() if kind == "timeseries"}
    found = []
    for name in listed.keys() - LEFT_OUT - buckets:
        ensure_name(name)
        kind, options = kinds[name], _decoded(listed[name]["options"])
        if kind not in OPTIONS:
            raise BackupError(f"The collection {name!r} is a {kind} collection: not supported")
        if kind == "view":
            found.append(CollectionSpec(name, kind, options))
            continue
        indexes = _read_indexes(db, name)
        mark = find_mark(db, name)
        if mark and not options and len(indexes) == 1 and _has_one_document(db, name):
            continue
        documents = {"_id": {"$ne": mark["_id"]}} if mark else {}
        spec = CollectionSpec(name, kind, options, indexes, documents=documents)
        info = listed.get(spec.stored_in, {}).get("info", {})
        found.append(replace(spec, uuid=bytes(info.get("uuid") or b"").hex()))
    return tuple(sorted(found, key=lambda spec: (spec.kind == "view", spec.name)))


def create_collection(db: MongoDatabase, spec: CollectionSpec) -> None:
    """Make the collection or view, without its indexes. It must not be there, unless it has nothing
    but a mark of the platform, which stays."""
    spec.ensure_sound()
    options = {**spec.options, **_id_index(spec)}
    mark = find_mark(db, spec.name)
    if mark is None:
        run_confirmed(db, {"create": spec.name, **options})
        return
    # MongoDB gives options to new collections only, and the database must not be without its mark.
    marked = f"{spec.name}.{ObjectId()}"
    run_confirmed(db, {"create": marked, **options})
    bypass = spec.has_validator or None
    db[marked].insert_one(mark, bypass_document_validation=bypass)
    db[marked].rename(spec.name, dropTarget=True)


def create_indexes(db: MongoDatabase, spec: CollectionSpec) -> None:
    """Make its indexes, which may take long."""
    # One that names no collation compares simply; made anew it would get the collection's.
    inherited = {"collation": SIMPLE} if "collation" in spec.options else {}
    wanted = [
        inherited | _as_made(index)
        for index in spec.indexes
        if index["name"] != ALWAYS_THERE and not index.get("clustered")
    ]
    if wanted:
        run_confirmed(db, {"createIndexes": spec.name, "indexes": wanted})


def _id_index(spec: CollectionSpec) -> MongoDocument:
    """The option that makes an index of `_id` of an older version."""
    for index in spec.indexes:
        if index["name"] == ALWAYS_THERE and index.get("v", USUAL_VERSION) != USUAL_VERSION:
            return {"idIndex": _as_made(index)}
    return {}


def _as_made(index: MongoDocument) -> MongoDocument:
    return {option: value for option, value in index.items() if option not in MADE_BY_MONGODB}


def _read_indexes(db: MongoDatabase, name: str) -> tuple[MongoDocument, ...]:
    try:
        listed = db.cursor_command("listIndexes", name, codec_options=RAW)
        return tuple(map(_decoded, listed))
    except OperationFailure as error:
        if error.code != NAMESPACE_NOT_FOUND:
            raise
        return ()  # it was dropped just now


def _has_one_document(db: MongoDatabase, name: str) -> bool:
    return db[name].count_documents({}, limit=2) == 1


def _decoded(listed: Any) -> MongoDocument:
    """Return the fields of what MongoDB lists, whose documents stay undecoded. Raises BackupError
    for a name that is not UTF-8: PyMongo would ask for another one."""
    try:
        dict(RawBSONDocument(listed.raw, STRICT))
    except InvalidBSON as error:
        raise BackupError(
            f"{listed.get('name')!r} is called, or says, what is not UTF-8"
        ) from error
    return dict(listed)
