"""Memberships: which email belongs to which tenant."""

from collections.abc import Iterable, Mapping
from datetime import datetime

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenant_users import TenantUserDocument

AT_A_TIME = 10_000
"""Memberships that one command removes."""


def insert_tenant_user(
    db: MongoDatabase, user_id: ObjectId, *, email: str, tenant_id: ObjectId
) -> MongoDocument:
    """Record that the user belongs to the tenant; raises AlreadyExists with `email`."""
    return Model(db, TenantUserDocument).insert(id=user_id, email=email, tenant_id=tenant_id)


def find_memberships(db: MongoDatabase, email: str) -> dict[ObjectId, ObjectId]:
    """Return the tenants that the (normalised) email belongs to, and the user's id in each."""
    query = {"email": email, "tenantId": {"$type": "objectId"}}  # whatever somebody has edited
    memberships = Model(db, TenantUserDocument).collection.find(query)
    return {membership["tenantId"]: _user_of(membership) for membership in memberships}


def find_user_id(db: MongoDatabase, tenant_id: ObjectId, email: str) -> ObjectId | None:
    """Return the id of the tenant's user of that (normalised) email."""
    query = {"email": email, "tenantId": tenant_id}
    membership = Model(db, TenantUserDocument).collection.find_one(query)
    return _user_of(membership) if membership else None


def find_email(db: MongoDatabase, tenant_id: ObjectId, user_id: ObjectId) -> str | None:
    """Return the email under which the user of that id belongs to the tenant."""
    query = _of_users(tenant_id, user_id)
    membership = Model(db, TenantUserDocument).collection.find_one(query)
    return membership["email"] if membership else None


def list_memberships(
    db: MongoDatabase, tenant_id: ObjectId, *, before: datetime
) -> dict[ObjectId, ObjectId]:
    """Return the tenant's memberships that were made before that time: users' ids by their own."""
    made_before = {"_id": {"$lt": ObjectId.from_datetime(before)}}
    found = Model(db, TenantUserDocument).collection.find({"tenantId": tenant_id, **made_before})
    return {membership["_id"]: _user_of(membership) for membership in found}


def belong_to_tenant(db: MongoDatabase, tenant_id: ObjectId, user_ids: list[ObjectId]) -> bool:
    """Whether any of these users belongs to the tenant."""
    query = _of_users(tenant_id, {"$in": user_ids})
    membership = Model(db, TenantUserDocument).collection.find_one(query)
    return membership is not None


def count_tenant_users(db: MongoDatabase, tenant_id: ObjectId, *, at_most: int) -> int:
    """Return how many users the tenant has, counting no further than `at_most`."""
    query = {"tenantId": tenant_id}
    return Model(db, TenantUserDocument).collection.count_documents(query, limit=at_most)


def delete_tenant_user(
    db: MongoDatabase, tenant_id: ObjectId, user_id: ObjectId, *, email: str
) -> None:
    """Remove the membership of that user; another one of the same email may have one by now."""
    query = {"email": email, **_of_users(tenant_id, user_id)}
    Model(db, TenantUserDocument).collection.delete_one(query)


def delete_tenant_users(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Remove every membership of the tenant, some at a time: there may be more than one command
    has time for."""
    collection = Model(db, TenantUserDocument).collection
    while some := list(collection.find({"tenantId": tenant_id}, {"_id": 1}, limit=AT_A_TIME)):
        collection.delete_many({"_id": {"$in": [membership["_id"] for membership in some]}})


def delete_memberships(db: MongoDatabase, ids: list[ObjectId]) -> None:
    """Remove these memberships, by their own ids."""
    for some in _slices(ids):
        Model(db, TenantUserDocument).collection.delete_many({"_id": {"$in": some}})


def has_tenant_users(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Whether anybody belongs to the tenant."""
    return Model(db, TenantUserDocument).collection.find_one({"tenantId": tenant_id}) is not None


def insert_copied_tenant_users(
    db: MongoDatabase, tenant_id: ObjectId, emails: Mapping[ObjectId, str]
) -> None:
    """Record that these users, of whom others may have the ids as well, belong to the tenant."""
    memberships = [
        {"id": ObjectId(), "user_id": user_id, "email": email, "tenant_id": tenant_id}
        for user_id, email in emails.items()
    ]
    if memberships:
        Model(db, TenantUserDocument).insert_all(memberships)


def replace_tenant_users(
    db: MongoDatabase, tenant_id: ObjectId, emails: Mapping[ObjectId, str]
) -> None:
    """Make the tenant's memberships those of exactly these users, in a transaction; only what
    differs is written."""
    collection = Model(db, TenantUserDocument).collection
    missing = dict(emails)
    superfluous = []
    for membership in collection.find({"tenantId": tenant_id}):
        user_id = _user_of(membership)
        if missing.get(user_id) == membership["email"]:
            del missing[user_id]
        else:
            superfluous.append(membership["_id"])
    delete_memberships(db, superfluous)
    insert_copied_tenant_users(db, tenant_id, missing)


def _of_users(tenant_id: ObjectId, user_id: ObjectId | MongoDocument) -> MongoDocument:
    """Return the query for the tenant's memberships of the user; see the schema for the two ids."""
    return {"tenantId": tenant_id, "$or": [{"_id": user_id}, {"userId": user_id}]}


def _user_of(membership: MongoDocument) -> ObjectId:
    user_id: ObjectId = membership["userId"] if "userId" in membership else membership["_id"]
    return user_id


def _slices(ids: list[ObjectId]) -> Iterable[list[ObjectId]]:
    """A command takes 16 MB."""
    return (ids[start : start + 100_000] for start in range(0, len(ids), 100_000))
