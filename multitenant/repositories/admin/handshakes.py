"""Which processes serve tenants, and what they have answered."""

from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.handshakes import HandshakeDocument, ProcessDocument

COLLECTION: str = HandshakeDocument._meta["collection"]  # noqa: SLF001  # as in tenants.py
FORGOTTEN_SECONDS = 3600.0
"""After which the record of a process that was killed is removed."""


def _handshakes(db: MongoDatabase) -> Model:
    return Model(db, HandshakeDocument)


def _processes(db: MongoDatabase) -> Model:
    return Model(db, ProcessDocument)


def _seen(operator: str, seconds: float) -> dict[str, Any]:
    """By MongoDB's clock, whatever those of the processes say."""
    ago = {"$subtract": ["$$NOW", int(seconds * 1000)]}
    return {"$expr": {operator: ["$seenAt", ago]}}


def note_process(db: MongoDatabase, process: str) -> datetime:
    """Note that the process lives, and may serve tenants; return the time, by MongoDB's clock."""
    noted = _processes(db).collection.find_one_and_update(
        {"_id": process},
        [{"$set": {"seenAt": "$$NOW"}}],
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert noted is not None
    seen_at: datetime = noted["seenAt"]
    return seen_at


def remove_process(db: MongoDatabase, process: str) -> None:
    """Note that the process serves no tenants any more; forget those that were killed long ago."""
    gone = {"$or": [{"_id": process}, _seen("$lt", FORGOTTEN_SECONDS)]}
    _processes(db).collection.delete_many(gone)


def list_processes(db: MongoDatabase, *, seconds: float) -> set[str]:
    """Return the processes that were known to live in the last `seconds`."""
    return {one["_id"] for one in _processes(db).collection.find(_seen("$gte", seconds))}


def insert_handshake(db: MongoDatabase, tenant_id: ObjectId) -> ObjectId:
    """Ask every process about the tenant; return the id to look for answers by. What a killed
    process has asked about this tenant is removed."""
    delete_handshakes(db, tenant_id)
    handshake_id = ObjectId()
    _handshakes(db).insert(id=handshake_id, tenant_id=tenant_id)
    return handshake_id


def answer_handshake(db: MongoDatabase, handshake_id: ObjectId, process: str) -> None:
    """Answer for the process, if anybody still asks."""
    answer = {"$addToSet": {"answered": process}}
    _handshakes(db).collection.update_one({"_id": handshake_id}, answer)


def list_answers(db: MongoDatabase, handshake_id: ObjectId) -> set[str]:
    """Return the processes that have answered."""
    found = _handshakes(db).collection.find_one({"_id": handshake_id})
    return set(found.get("answered", ())) if found else set()


def delete_handshake(db: MongoDatabase, handshake_id: ObjectId) -> None:
    """Ask no more: nobody else's question is touched."""
    _handshakes(db).collection.delete_one({"_id": handshake_id})


def delete_handshakes(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Ask no more about the tenant."""
    _handshakes(db).collection.delete_many({"tenantId": tenant_id})
