"""Clusters: their records, and how many tenants each has."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.admin.clusters import ClusterDocument, PlacesDocument
from multitenant.schemas.admin.provisionings import ProvisioningDocument
from multitenant.schemas.admin.tenants import TenantDocument

COLLECTION: str = ClusterDocument._meta["collection"]  # noqa: SLF001  # as in tenants.py
UNDER_WAY: dict[str, Any] = {"purged": False, "droppingSince": {"$exists": False}}
"""Notes of databases that hold, or will hold, a tenant's place."""
ALL = {"cluster": {"$gte": ""}}
"""So that tenants are counted by the index alone, without reading their records."""


def _clusters(db: MongoDatabase) -> Model:
    return Model(db, ClusterDocument)


def _places(db: MongoDatabase) -> Model:
    return Model(db, PlacesDocument)


def insert_cluster(db: MongoDatabase, name: str, **fields: Any) -> MongoDocument:
    """Insert the record of a new cluster; raises AlreadyExists."""
    return _clusters(db).insert(id=name, **fields)


def find_cluster(db: MongoDatabase, name: str) -> MongoDocument | None:
    """Return the cluster's record."""
    return _clusters(db).collection.find_one({"_id": name})


def find_clusters(db: MongoDatabase, names: list[str]) -> list[MongoDocument]:
    """Return the records of those of the clusters that there are."""
    return list(_clusters(db).collection.find({"_id": {"$in": names}}))


def is_open(db: MongoDatabase, name: str) -> bool:
    """Whether there is such a cluster, and it takes new tenants."""
    return _clusters(db).collection.find_one({"_id": name, "state": "open"}) is not None


def list_clusters(db: MongoDatabase) -> list[MongoDocument]:
    """Return all clusters, by name."""
    return list(_clusters(db).collection.find().sort("_id", 1))


def update_cluster(db: MongoDatabase, name: str, **changes: Any) -> MongoDocument | None:
    """Change fields of the cluster (None removes one); return its record."""
    return _clusters(db).update({"_id": name}, **changes)


def set_measurement(db: MongoDatabase, name: str, measured: MongoDocument) -> None:
    """Keep what was measured there last."""
    _clusters(db).collection.update_one({"_id": name}, {"$set": {"measured": measured}})


def set_state(
    db: MongoDatabase, name: str, state: str, *, only: MongoDocument | None = None
) -> bool:
    """Change the cluster's state; with `only`, just if its record is still that one (by the time
    of its last change). Return whether it was changed."""
    same = {"updatedAt": only["updatedAt"]} if only else {}
    return _clusters(db).update({"_id": name, **same}, state=state) is not None


def delete_cluster(db: MongoDatabase, name: str, *, state: str) -> bool:
    """Remove the record, if the cluster is in that state; return whether it was."""
    _places(db).collection.delete_one({"_id": name})
    return _clusters(db).collection.delete_one({"_id": name, "state": state}).deleted_count == 1


def add_place(db: MongoDatabase, name: str) -> MongoDocument:
    """Count one more place on the cluster, and return how many there are at most (see
    PlacesDocument)."""
    found = _places(db).collection.find_one_and_update(
        {"_id": name},
        {"$inc": {"count": 1}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
    )
    assert found is not None
    return found


def find_places(db: MongoDatabase, names: list[str]) -> dict[str, MongoDocument]:
    """Return how many places there are at most on those of the clusters where any were counted."""
    return {it["_id"]: it for it in _places(db).collection.find({"_id": {"$in": names}})}


def set_places(db: MongoDatabase, name: str, count: int, *, seen: MongoDocument | None) -> None:
    """Keep how many places were counted on the cluster since find_places() returned `seen` for it;
    not when any was added, or they were counted by somebody else, meanwhile."""
    same = {"_id": name, **(seen or {"count": {"$exists": False}})}
    counted = {"$set": {"count": count, "at": utc_now()}}
    with suppress(DuplicateKeyError):  # it is there, and is not as it was seen
        _places(db).collection.update_one(same, counted, upsert=seen is None)


def count_places(db: MongoDatabase, names: Iterable[str]) -> dict[str, int]:
    """Return how many databases of tenants each of the clusters has: those of tenants, deleted ones
    included, and those that are being prepared or wait for a tenant. Exact in a transaction."""
    of_clusters = {"cluster": {"$in": [*names]}}
    tenants = _count_by_cluster(db, TenantDocument, of_clusters)
    noted = _count_by_cluster(db, ProvisioningDocument, {**of_clusters, **UNDER_WAY})
    return {name: tenants.get(name, 0) + noted.get(name, 0) for name in names}


def count_tenants(db: MongoDatabase, *, since: datetime | None = None) -> dict[str, int]:
    """Return how many tenants each cluster has, deleted ones included; with `since`, how many of
    them were made after that."""
    return _count_by_cluster(db, TenantDocument, {"createdAt": {"$gte": since}} if since else {})


def find_notes_under_way(db: MongoDatabase, name: str) -> list[MongoDocument]:
    """Return the notes of databases there that hold, or will hold, a tenant's place."""
    return list(Model(db, ProvisioningDocument).collection.find({"cluster": name, **UNDER_WAY}))


def count_notes(db: MongoDatabase, name: str) -> int:
    """Return how many databases are noted there that are no tenant's (yet, or any more)."""
    return Model(db, ProvisioningDocument).collection.count_documents({"cluster": name})


def _count_by_cluster(
    db: MongoDatabase, document: type[TenantDocument | ProvisioningDocument], query: Any
) -> dict[str, int]:
    stages: list[MongoDocument] = [
        {"$match": {**ALL, **query}},
        {"$group": {"_id": "$cluster", "count": {"$sum": 1}}},
    ]
    grouped = Model(db, document).collection.aggregate(stages)
    return {group["_id"]: group["count"] for group in grouped if isinstance(group["_id"], str)}
