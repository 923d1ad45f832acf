"""Databases on their way to a tenant, or away from one."""

from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.admin.provisionings import ProvisioningDocument


def _provisionings(db: MongoDatabase) -> Model:
    return Model(db, ProvisioningDocument)


def _prepared(version: int) -> dict[str, Any]:
    return {"preparedVersion": version, "droppingSince": {"$exists": False}}


def insert_provisioning(db: MongoDatabase, tenant_id: ObjectId, **fields: Any) -> MongoDocument:
    """Note that a database is about to be prepared for the tenant, or to be dropped after it."""
    return _provisionings(db).insert(id=tenant_id, started_at=utc_now(), **fields)


def mark_prepared(db: MongoDatabase, tenant_id: ObjectId, *, version: int) -> None:
    """Note that the database has all migrations up to that version, and waits for a tenant."""
    ready = {"$set": {"preparedVersion": version}}
    _provisionings(db).collection.update_one({"_id": tenant_id}, ready)


def take_prepared(db: MongoDatabase, *, version: int, has_users: bool) -> MongoDocument | None:
    """Return the note of a prepared database, which nobody else gets; None without one. It is,
    from now on, that of a database that is being prepared for a tenant."""
    taken = {
        "$unset": {"preparedVersion": ""},
        "$set": {"startedAt": utc_now(), "hasUsers": has_users},
    }
    return _provisionings(db).collection.find_one_and_update(
        _prepared(version), taken, sort=[("startedAt", 1)], return_document=ReturnDocument.AFTER
    )


def count_prepared(db: MongoDatabase, *, version: int) -> int:
    """Return how many prepared databases there are."""
    return _provisionings(db).collection.count_documents(_prepared(version))


def list_prepared(db: MongoDatabase, *, version: int) -> list[ObjectId]:
    """Return the ids under which they are noted, oldest first."""
    found = _provisionings(db).collection.find(_prepared(version), {"_id": 1})
    return [note["_id"] for note in found.sort("startedAt", 1)]


def delete_unclaimed_provisioning(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Remove the note, in the transaction that inserts the tenant; return False when somebody has
    claimed the database for dropping. From the commit on, nobody can."""
    query = {"_id": tenant_id, "droppingSince": {"$exists": False}}
    return _provisionings(db).collection.delete_one(query).deleted_count == 1


def claim_provisioning(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Claim the database for dropping; return whether there was a note of it."""
    claim = {"$set": {"droppingSince": utc_now()}}
    return _provisionings(db).collection.update_one({"_id": tenant_id}, claim).matched_count == 1


def delete_provisioning(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Remove the note of a database that is gone."""
    _provisionings(db).collection.delete_one({"_id": tenant_id})


def list_db_names(db: MongoDatabase, cluster: str) -> set[str]:
    """Return the names of the databases that are noted on this cluster."""
    notes = _provisionings(db).collection.find({"cluster": cluster}, {"dbName": 1})
    return {note["dbName"] for note in notes}


def list_provisionings(db: MongoDatabase, *, before: datetime) -> list[MongoDocument]:
    """Return the notes that were made before that time, oldest first."""
    query = {"startedAt": {"$lt": before}}
    return list(_provisionings(db).collection.find(query).sort("startedAt", 1))
