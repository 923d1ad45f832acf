"""Tenant records in the admin database."""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

from multitenant.repositories.admin.damaged_records import (
    EPOCH,
    NO_VERSION,
    NUMBER,
    ensure_intact,
    find_damage,
    legible,
)
from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenants import CASE_INSENSITIVE, TenantDocument, TenantQuery
from multitenant.schemas.paging import Page

COLLECTION: str = TenantDocument._meta["collection"]  # noqa: SLF001  # MongoEngine's, documented

DECISIVE = ("status", "isolation", "credentials", "dbUri", "cluster", "dbName")
"""What whoever changes a tenant has looked at before."""
SEEN = (*DECISIVE, "name", "suspendedAt", "deletedAt", "updatedAt")
"""What shows whether a record is still the one that somebody was asked about."""
NO_MAINTENANCE: dict[str, None] = {
    "maintenance_until": None,
    "maintenance_holder": None,
    "read_only": None,
}
"""The changes that leave nothing of a maintenance in a record."""


def _tenants(db: MongoDatabase) -> Model:
    return Model(db, TenantDocument)


def insert_tenant(db: MongoDatabase, **fields: Any) -> MongoDocument:
    """Insert a tenant record; raises AlreadyExists with the field that is taken."""
    return _tenants(db).insert(**fields)


def find_tenant(db: MongoDatabase, tenant_id: ObjectId) -> MongoDocument | None:
    """Return the tenant's record, whatever its status; None when there is none. Raises
    DamagedRecord."""
    record = find_stored_tenant(db, tenant_id)
    return ensure_intact(record) if record else None


def find_stored_tenant(db: MongoDatabase, tenant_id: ObjectId) -> MongoDocument | None:
    """The same, but as it is stored, to be looked at only."""
    return _tenants(db).collection.find_one({"_id": tenant_id})


def find_damaged_tenants(db: MongoDatabase) -> Iterator[tuple[Any, list[str]]]:
    """Go through the tenants whose records find_tenant() refuses: their ids, and what is wrong."""
    for record in _tenants(db).collection.find():
        if damage := find_damage(record):
            yield record["_id"], damage


def find_tenants_by_ids(db: MongoDatabase, tenant_ids: list[ObjectId]) -> list[MongoDocument]:
    """Return those of the tenants that exist, in the order of ids, as they are stored."""
    return list(_tenants(db).collection.find({"_id": {"$in": tenant_ids}}).sort("_id", 1))


def find_tenant_by_name(db: MongoDatabase, name: str) -> MongoDocument | None:
    """Return the tenant of that name, compared without regard to case."""
    return _tenants(db).collection.find_one({"name": name}, collation=CASE_INSENSITIVE)


def find_tenant_id_by_subdomain(db: MongoDatabase, subdomain: str) -> ObjectId | None:
    """Return the id of the tenant with that subdomain."""
    return _id_of(_tenants(db).collection.find_one({"subdomain": subdomain}, {"_id": 1}))


def find_tenant_id_by_domain(db: MongoDatabase, domain: str) -> ObjectId | None:
    """Return the id of the tenant with that custom domain."""
    return _id_of(_tenants(db).collection.find_one({"domains": domain}, {"_id": 1}))


def find_tenants_deleted_before(db: MongoDatabase, moment: datetime) -> list[MongoDocument]:
    """Return the tenants that were deleted before that time, longest ago first."""
    query = {"status": "deleted", "deletedAt": {"$lt": moment}}
    return legible(_tenants(db).collection.find(query).sort("deletedAt", 1))


def find_tenants_by_db_names(
    db: MongoDatabase, cluster: str, db_names: list[str]
) -> list[MongoDocument]:
    """Return the tenants whose databases have these names on this cluster."""
    query = {"cluster": cluster, "dbName": {"$in": db_names}}
    return legible(_tenants(db).collection.find(query))


def find_tenants_on_cluster(
    db: MongoDatabase, cluster: str, *, sample: int | None = None
) -> list[MongoDocument]:
    """Return the tenants of the cluster, deleted ones included, oldest first; with `sample`, so
    many of them at random."""
    if sample is not None:
        stages: list[MongoDocument] = [
            {"$match": {"cluster": cluster}},
            {"$sample": {"size": sample}},
        ]
        return legible(_tenants(db).collection.aggregate(stages))
    return legible(_tenants(db).collection.find({"cluster": cluster}).sort("createdAt", 1))


def find_tenants_not_on(db: MongoDatabase, cluster: str) -> list[MongoDocument]:
    """Return the tenants of all other clusters, and of servers of their own; not deleted ones."""
    query = {"cluster": {"$ne": cluster}, "status": {"$ne": "deleted"}}
    return legible(_tenants(db).collection.find(query))


def find_oldest_tenant(db: MongoDatabase) -> MongoDocument | None:
    """Return the first of all tenants, the operators' own included."""
    dated = {"createdAt": {"$gt": EPOCH}}
    found = legible(_tenants(db).collection.find(dated).sort("createdAt", 1).limit(1))
    return found[0] if found else None


def list_db_names(db: MongoDatabase, cluster: str) -> dict[str, str]:
    """Return the names of the databases that tenants have on this cluster, and whose each is."""
    found = legible(_tenants(db).collection.find({"cluster": cluster}, {"dbName": 1, "name": 1}))
    return {tenant["dbName"]: tenant["name"] for tenant in found if tenant["dbName"]}


def list_shared_databases(db: MongoDatabase) -> dict[str, list[str]]:
    """Return the databases of the platform's clusters that records of several tenants name, and
    the tenants' names."""
    grouped = _tenants(db).collection.aggregate(
        [
            {"$match": {"dbUri": {"$exists": False}, "dbName": {"$type": "string"}}},
            {
                "$group": {
                    "_id": {"cluster": "$cluster", "dbName": "$dbName"},
                    "names": {"$push": "$name"},
                }
            },
            {"$match": {"names.1": {"$exists": True}}},
        ]
    )
    return {group["_id"]["dbName"]: sorted(map(str, group["names"])) for group in grouped}


def count_tenants(db: MongoDatabase, cluster: str) -> int:
    """Return how many tenants live on this cluster, deleted ones included."""
    return _tenants(db).collection.count_documents({"cluster": cluster})


def sample_tenants(db: MongoDatabase, size: int) -> list[MongoDocument]:
    """Return so many tenants, picked at random."""
    return legible(_tenants(db).collection.aggregate([{"$sample": {"size": size}}]))


def list_tenants(db: MongoDatabase, query: TenantQuery) -> Page:
    """Return a page of tenants, oldest first."""
    wanted: dict[str, Any] = {}
    if query.status:
        wanted["status"] = query.status
    if query.q:
        part = {"$regex": re.escape(query.q), "$options": "i"}
        wanted["$or"] = [{"name": part}, {"subdomain": part}]
    return _tenants(db).find_page(wanted, query)


def update_tenant(db: MongoDatabase, record: MongoDocument, **changes: Any) -> MongoDocument | None:
    """Change fields of a tenant (None removes one), if what decides about the change is still as
    `record` says; return the new record, None otherwise."""
    same = {name: record.get(name) for name in DECISIVE}
    return _tenants(db).update({"_id": record["_id"], **same}, **changes)


def find_tenants_in_maintenance(db: MongoDatabase) -> list[MongoDocument]:
    """Return the tenants that are recorded as in maintenance, over or not, oldest first."""
    return legible(_tenants(db).collection.find({"status": "maintenance"}).sort("createdAt", 1))


def end_expired_maintenance(db: MongoDatabase, record: MongoDocument) -> MongoDocument | None:
    """Set a tenant active whose maintenance has expired, by MongoDB's clock; return the new
    record, None when the maintenance is not the one in `record` any more, or not over."""
    expired = {
        "_id": record["_id"],
        "status": "maintenance",
        "maintenanceUntil": record["maintenanceUntil"],
        "$expr": {"$lte": ["$maintenanceUntil", "$$NOW"]},
    }
    return _tenants(db).update(expired, status="active", **NO_MAINTENANCE)


def end_maintenance(db: MongoDatabase, record: MongoDocument) -> None:
    """Set the tenant active, if it is in the maintenance of `record`, expired or not, with the
    same database."""
    same = {name: record[name] for name in ("_id", "maintenanceHolder", "cluster", "dbName")}
    _tenants(db).update({**same, "status": "maintenance"}, status="active", **NO_MAINTENANCE)


def extend_maintenance(
    db: MongoDatabase, tenant_id: ObjectId, *, holder: str, lasts: timedelta
) -> bool:
    """Let the holder's maintenance expire in so long from now; return False when it has expired
    already, or was ended."""
    until = {"$add": ["$$NOW", int(lasts.total_seconds() * 1000)]}
    return (
        _tenants(db)
        .collection.update_one(
            _in_maintenance_of(tenant_id, holder), [{"$set": {"maintenanceUntil": until}}]
        )
        .matched_count
        == 1
    )


def is_in_maintenance(db: MongoDatabase, tenant_id: ObjectId, *, holder: str) -> bool:
    """Whether the tenant is in this holder's maintenance, which has not expired."""
    return _tenants(db).collection.find_one(_in_maintenance_of(tenant_id, holder)) is not None


def _in_maintenance_of(tenant_id: ObjectId, holder: str) -> dict[str, Any]:
    """Not expired by MongoDB's clock, whatever those of the processes say."""
    return {
        "_id": tenant_id,
        "status": "maintenance",
        "maintenanceHolder": holder,
        "$expr": {"$gt": ["$maintenanceUntil", "$$NOW"]},
    }


def is_as_seen(record: MongoDocument, seen: MongoDocument) -> bool:
    """Whether nothing has changed in the tenant's record since it was read as `seen`."""
    return all(record.get(name) == seen.get(name) for name in SEEN)


def list_schema_versions(db: MongoDatabase) -> dict[int, int]:
    """Return how many tenants, deleted ones included, are recorded at each schema version; at
    NO_VERSION those whose records do not tell."""
    grouped = _tenants(db).collection.aggregate(
        [{"$group": {"_id": "$schemaVersion", "tenants": {"$sum": 1}}}, {"$sort": {"_id": 1}}]
    )
    counts: dict[int, int] = {}
    for group in grouped:
        version = group["_id"] if type(group["_id"]) in NUMBER else NO_VERSION
        counts[version] = counts.get(version, 0) + group["tenants"]
    return counts


def find_tenants_for_migration(
    db: MongoDatabase, *, named: Sequence[str] = (), other_than: int | None = None
) -> list[MongoDocument]:
    """Return the records of tenants, deleted ones included, oldest first: all, or those whose id,
    subdomain or name is in `named`, or whose schema version is recorded as another one."""
    wanted: dict[str, Any] = {}
    if other_than is not None:
        wanted["schemaVersion"] = {"$ne": other_than}
    find = _tenants(db).collection.find
    if not named:
        return _oldest_first(find(wanted))
    ids = [ObjectId(text) for text in named if ObjectId.is_valid(text)]
    subdomains = [text.lower() for text in named]
    by_key = find({**wanted, "$or": [{"_id": {"$in": ids}}, {"subdomain": {"$in": subdomains}}]})
    by_name = find({**wanted, "name": {"$in": list(named)}}, collation=CASE_INSENSITIVE)
    return _oldest_first({tenant["_id"]: tenant for tenant in [*by_key, *by_name]}.values())


def set_schema_version(db: MongoDatabase, tenant_id: ObjectId, version: int) -> None:
    """Record which migrations the tenant's database has had."""
    query = {"_id": tenant_id, "schemaVersion": {"$ne": version}}
    _tenants(db).collection.update_one(query, {"$set": {"schemaVersion": version}})


def delete_tenant(db: MongoDatabase, record: MongoDocument) -> bool:
    """Remove a tenant's record, if nothing has changed in it since it was read; return whether it
    was removed."""
    same = {name: record.get(name) for name in SEEN}
    return _tenants(db).collection.delete_one({"_id": record["_id"], **same}).deleted_count == 1


def _oldest_first(records: Iterable[MongoDocument]) -> list[MongoDocument]:
    """MongoDB would sort in memory, too."""
    return sorted(legible(records), key=lambda one: (one["createdAt"], str(one["_id"])))


def _id_of(document: MongoDocument | None) -> ObjectId | None:
    return document["_id"] if document else None
