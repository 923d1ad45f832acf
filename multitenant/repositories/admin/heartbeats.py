"""The heartbeat of the admin database, and the proof that a primary is one."""

from pymongo import ReturnDocument
from pymongo.collection import Collection
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.heartbeats import HeartbeatDocument

COLLECTION: str = HeartbeatDocument._meta["collection"]  # noqa: SLF001  # as in tenants.py
HEARTBEAT = "heartbeat"


def _heartbeats(db: MongoDatabase) -> Collection[MongoDocument]:
    """The collection. Nobody waits for a majority here: the change stream shows a heartbeat when,
    and only when, a majority has it."""
    return Model(db, HeartbeatDocument).collection.with_options(write_concern=WriteConcern(w=1))


def claim_heartbeat(db: MongoDatabase, process: str) -> str:
    """Return which process writes the heartbeat: this one, if there is none yet."""
    found = _heartbeats(db).find_one_and_update(
        {"_id": HEARTBEAT},
        {"$setOnInsert": {"writer": process}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert found is not None
    writer: str = found["writer"]
    return writer


def write_heartbeat(db: MongoDatabase, process: str, *, instead_of: str) -> bool:
    """Write the heartbeat, if the process that wrote the last one is `instead_of`; return whether
    it is."""
    beat = {"$set": {"writer": process}, "$inc": {"beats": 1}}
    written = _heartbeats(db).update_one({"_id": HEARTBEAT, "writer": instead_of}, beat)
    return written.matched_count == 1


def prove_primary(db: MongoDatabase) -> None:
    """Return if the server that answers was the primary of a majority after this was called.
    Raises PyMongo's errors when none can show that in time.

    A linearizable read waits until a majority has confirmed a write of this primary that is newer
    than the read (https://www.mongodb.com/docs/v6.0/reference/read-concern-linearizable/).
    """
    linearizable = ReadConcern("linearizable")
    _heartbeats(db).with_options(read_concern=linearizable).find_one({"_id": HEARTBEAT})
