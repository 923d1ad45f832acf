"""What a collection is besides its documents: its options and its indexes.

Copies and backups make collections anew from this. It may come from a file that somebody has
changed, so nothing in it is taken that is not expected.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from multitenant.errors import BackupError
from multitenant.repositories.durability import CONFIRMED
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.tenancy.deployments.external import OWNER_COLLECTION

Kind = Literal["collection", "view"]

COPY_MARK = "copying"
"""The collection in a database that is being filled (see fresh_databases.py)."""
NEVER_COPIED = frozenset({OWNER_COLLECTION, COPY_MARK})
"""What says of a database whose it is, and what it is for: true of that database alone."""
ALWAYS_THERE = "_id_"
MAX_NAME_BYTES = 190
"""Of a collection: with the name of a database before it, MongoDB takes 255."""
OPTIONS: dict[Kind, frozenset[str]] = {
    "collection": frozenset(
        {"capped", "size", "max", "collation", "validator", "validationLevel", "validationAction"}
        | {"clusteredIndex", "changeStreamPreAndPostImages", "expireAfterSeconds"}
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
    if not name or len(name.encode()) > MAX_NAME_BYTES or "\0" in name or "$" in name:
        raise BackupError(f"{name[:80]!r} is no name of a collection")
    if name.startswith((".", "system.")) or name.endswith(".") or ".." in name:
        raise BackupError(f"{name!r} is no name of a tenant's collection")
    if name in NEVER_COPIED:
        raise BackupError(f"{name!r} is a name that the platform keeps for itself")


def read_specs(db: MongoDatabase) -> tuple[CollectionSpec, ...]:
    """Return the collections of the database by name, and then its views, without MongoDB's own
    and NEVER_COPIED. Raises BackupError for a time-series collection, which cannot be copied."""
    found = []
    for listed in db.list_collections():
        name, kind = listed["name"], listed.get("type", "collection")
        if name.startswith("system.") or name in NEVER_COPIED:
            continue
        if kind not in OPTIONS:
            raise BackupError(f"The collection {name!r} is a {kind} collection: not supported")
        indexes: tuple[MongoDocument, ...] = ()
        if kind == "collection":
            indexes = tuple(dict(index) for index in db[name].list_indexes())
        uuid = listed.get("info", {}).get("uuid")
        options = dict(listed.get("options", {}))
        found.append(CollectionSpec(name, kind, options, indexes, bytes(uuid or b"").hex()))
    return tuple(sorted(found, key=lambda spec: (spec.kind, spec.name)))


def create_collection(db: MongoDatabase, spec: CollectionSpec) -> None:
    """Make the collection or view, without its indexes. It must not be there."""
    spec.ensure_sound()
    db.command({"create": spec.name, **spec.options, **CONFIRMED})


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
