"""Databases on their way to a tenant, or away from one."""

from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.admin.provisionings import ProvisioningDocument


def _provisionings(db: MongoDatabase) -> Model:
    return Model(db, ProvisioningDocument)


def _prepared(version: int, **more: Any) -> dict[str, Any]:
    return {"preparedVersion": version, "droppingSince": {"$exists": False}, **more}


def insert_provisioning(db: MongoDatabase, note_id: ObjectId, **fields: Any) -> MongoDocument:
    """Note that a database is about to be prepared for a tenant, or to be dropped after it. The
    note's id is the tenant's, unless `tenant_id` says whose it is."""
    return _provisionings(db).insert(id=note_id, started_at=utc_now(), **fields)


def mark_prepared(db: MongoDatabase, tenant_id: ObjectId, *, version: int) -> bool:
    """Note that the database has all migrations up to that version, and waits for a tenant; return
    False when somebody has claimed it for dropping."""
    ready = {"$set": {"preparedVersion": version}}
    query = {"_id": tenant_id, "droppingSince": {"$exists": False}}
    return _provisionings(db).collection.update_one(query, ready).matched_count == 1


def take_prepared(
    db: MongoDatabase, cluster: str, *, version: int, has_users: bool
) -> MongoDocument | None:
    """Return the note of a prepared database on the cluster, which nobody else gets; None without
    one. It is, from now on, that of a database that is being prepared for a tenant."""
    taken = {
        "$unset": {"preparedVersion": ""},
        "$set": {"startedAt": utc_now(), "hasUsers": has_users},
    }
    return _provisionings(db).collection.find_one_and_update(
        _prepared(version, cluster=cluster),
        taken,
        sort=[("startedAt", 1)],
        return_document=ReturnDocument.AFTER,
    )


def count_prepared(db: MongoDatabase, cluster: str, *, version: int) -> int:
    """Return how many prepared databases there are on the cluster."""
    return _provisionings(db).collection.count_documents(_prepared(version, cluster=cluster))


def list_prepared(db: MongoDatabase, *, version: int) -> dict[str, list[ObjectId]]:
    """Return, by cluster, the ids under which they are noted, oldest first."""
    found: dict[str, list[ObjectId]] = {}
    notes = _provisionings(db).collection.find(_prepared(version), {"cluster": 1})
    for note in notes.sort([("cluster", 1), ("startedAt", 1)]):
        found.setdefault(note["cluster"], []).append(note["_id"])
    return found


def delete_unclaimed_provisioning(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Remove the note, in the transaction that inserts the tenant; return False when somebody has
    claimed the database for dropping. From the commit on, nobody can."""
    query = {"_id": tenant_id, "droppingSince": {"$exists": False}}
    return _provisionings(db).collection.delete_one(query).deleted_count == 1


def claim_provisioning(
    db: MongoDatabase, note_id: ObjectId, *, seen: MongoDocument | None = None
) -> bool:
    """Claim the database for dropping; return whether there was a note of it, which is, with
    `seen`, still the one that somebody has decided by: nobody has taken the database, or gone on
    with it."""
    same = {name: seen.get(name) for name in ("startedAt", "preparedVersion")} if seen else {}
    claim = {"$set": {"droppingSince": utc_now()}}
    query = {"_id": note_id, **same}
    return _provisionings(db).collection.update_one(query, claim).matched_count == 1


def delete_provisioning(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Remove the note of a database that is gone."""
    _provisionings(db).collection.delete_one({"_id": tenant_id})


def list_db_names(db: MongoDatabase, cluster: str) -> set[str]:
    """Return the names of the databases that are noted on this cluster."""
    notes = _provisionings(db).collection.find({"cluster": cluster}, {"dbName": 1})
    return {note["dbName"] for note in notes}


def list_provisionings(db: MongoDatabase, *, before: datetime) -> list[MongoDocument]:
    """Return the notes that were made before that time, oldest first; not of databases that are
    kept."""
    query = {"startedAt": {"$lt": before}, "kept": {"$exists": False}}
    return list(_provisionings(db).collection.find(query).sort("startedAt", 1))


def touch_provisioning(db: MongoDatabase, note_id: ObjectId) -> None:
    """Note that the database is still being prepared: its time begins anew, unless somebody has
    claimed it for dropping."""
    query = {"_id": note_id, "droppingSince": {"$exists": False}}
    _provisionings(db).collection.update_one(query, {"$set": {"startedAt": utc_now()}})


def list_kept(
    db: MongoDatabase, *, tenant_id: ObjectId | None = None, before: datetime | None = None
) -> list[MongoDocument]:
    """Return the notes of databases that tenants had (that this tenant had; before that time) and
    that are kept, the latest first."""
    query: dict[str, Any] = {"kept": True}
    if tenant_id is not None:
        query["tenantId"] = tenant_id
    if before is not None:
        query["startedAt"] = {"$lt": before}
    return list(_provisionings(db).collection.find(query).sort("startedAt", -1))


def find_unfinished(db: MongoDatabase, tenant_id: ObjectId) -> list[MongoDocument]:
    """Return the notes of databases that were being filled for this tenant, which exists."""
    query = {"tenantId": tenant_id, "purged": False}
    return list(_provisionings(db).collection.find(query))


def release_kept(db: MongoDatabase, tenant_id: ObjectId) -> list[MongoDocument]:
    """Keep no database that this tenant had: claim them for dropping, and return their notes."""
    return _claim_all(db, {"tenantId": tenant_id, "kept": True})


def claim_other_databases(db: MongoDatabase, tenant_id: ObjectId) -> list[MongoDocument]:
    """Claim for dropping whatever this tenant has beside its own database: those that it had
    before, and those that are being filled for it. Return their notes."""
    return _claim_all(db, {"tenantId": tenant_id})


def _claim_all(db: MongoDatabase, query: dict[str, Any]) -> list[MongoDocument]:
    collection = _provisionings(db).collection
    notes = list(collection.find(query).sort("startedAt", -1))
    claim = {"$unset": {"kept": ""}, "$set": {"droppingSince": utc_now()}}
    collection.update_many({"_id": {"$in": [note["_id"] for note in notes]}}, claim)
    return notes
