"""Databases on their way to a tenant, or away from one."""

from datetime import datetime
from typing import Any

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.admin.provisionings import ProvisioningDocument


def _provisionings(db: MongoDatabase) -> Model:
    return Model(db, ProvisioningDocument)


def insert_provisioning(db: MongoDatabase, tenant_id: ObjectId, **fields: Any) -> MongoDocument:
    """Note that a database is about to be prepared for the tenant, or to be dropped after it."""
    return _provisionings(db).insert(id=tenant_id, started_at=utc_now(), **fields)


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


def list_provisionings(db: MongoDatabase, *, before: datetime) -> list[MongoDocument]:
    """Return the notes that were made before that time, oldest first."""
    query = {"startedAt": {"$lt": before}}
    return list(_provisionings(db).collection.find(query).sort("startedAt", 1))
