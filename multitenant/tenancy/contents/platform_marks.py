"""What the platform writes into a tenant's database about that database: whose it is, and that it
is being filled. That is true of this database alone, so no copy has it.

A mark is recognised by what it is. A tenant may have collections of the same names.
"""

from bson import ObjectId
from bson.raw_bson import RawBSONDocument

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.raw_documents import raw_collection
from multitenant.tenancy.deployments.external import OWNER_COLLECTION, OWNER_ID, is_claim
from multitenant.tenancy.deployments.steady_client import SteadyClient

FILLING = "filling"
FILLING_PREFIX = "multitenant.filling."


def mark_as_copy(db: MongoDatabase, note_id: ObjectId) -> None:
    """Mark the database, which is noted under this id, as one that is being filled, before anything
    else is in it."""
    db[f"{FILLING_PREFIX}{note_id}"].insert_one({"_id": FILLING, "noteId": note_id})


def unmark(db: MongoDatabase, note_id: ObjectId) -> None:
    """Remove the mark: the database is a tenant's."""
    db[f"{FILLING_PREFIX}{note_id}"].drop()


def is_marked_as_copy(db: MongoDatabase, note_id: ObjectId) -> bool:
    """Whether the database was being filled when somebody last did anything about that."""
    return find_mark(db, f"{FILLING_PREFIX}{note_id}") is not None


def find_mark(db: MongoDatabase, name: str) -> RawBSONDocument | None:
    """Return the mark that is in the collection; None where there is none."""
    foreign = isinstance(db.client, SteadyClient) and db.client.foreign is not None
    if name == OWNER_COLLECTION and foreign:  # elsewhere it is a tenant's, whatever it says
        mark = _find(db, name, OWNER_ID)
        if mark and is_claim(mark):
            return mark
    if name.startswith(FILLING_PREFIX):
        mark = _find(db, name, FILLING)
        note_id = mark.get("noteId") if mark and len(mark) == 2 else None
        if isinstance(note_id, ObjectId) and name == f"{FILLING_PREFIX}{note_id}":
            # On the platform's own clusters a database is called by its note.
            return mark if foreign or db.name.endswith(str(note_id)) else None
    return None


def _find(db: MongoDatabase, name: str, _id: str) -> RawBSONDocument | None:
    found: RawBSONDocument | None = raw_collection(db, name).find_one({"_id": _id})
    return found
