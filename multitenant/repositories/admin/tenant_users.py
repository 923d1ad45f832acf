"""Memberships: which email belongs to which tenant."""

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenant_users import TenantUserDocument


def insert_tenant_user(
    db: MongoDatabase, user_id: ObjectId, *, email: str, tenant_id: ObjectId
) -> MongoDocument:
    """Record that the user belongs to the tenant; raises AlreadyExists with `email`."""
    return Model(db, TenantUserDocument).insert(id=user_id, email=email, tenant_id=tenant_id)


def find_memberships(db: MongoDatabase, email: str) -> dict[ObjectId, ObjectId]:
    """Return the tenants that the (normalised) email belongs to, and the user's id in each."""
    memberships = Model(db, TenantUserDocument).collection.find({"email": email})
    return {membership["tenantId"]: membership["_id"] for membership in memberships}


def find_user_id(db: MongoDatabase, tenant_id: ObjectId, email: str) -> ObjectId | None:
    """Return the id of the tenant's user of that (normalised) email."""
    query = {"email": email, "tenantId": tenant_id}
    membership = Model(db, TenantUserDocument).collection.find_one(query, {"_id": 1})
    return membership["_id"] if membership else None


def count_tenant_users(db: MongoDatabase, tenant_id: ObjectId, *, at_most: int) -> int:
    """Return how many users the tenant has, counting no further than `at_most`."""
    query = {"tenantId": tenant_id}
    return Model(db, TenantUserDocument).collection.count_documents(query, limit=at_most)


def delete_tenant_user(db: MongoDatabase, tenant_id: ObjectId, email: str) -> None:
    """Remove the membership of that (normalised) email."""
    query = {"email": email, "tenantId": tenant_id}
    Model(db, TenantUserDocument).collection.delete_one(query)


def delete_tenant_users(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Remove every membership of the tenant."""
    Model(db, TenantUserDocument).collection.delete_many({"tenantId": tenant_id})


def has_tenant_users(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Whether anybody belongs to the tenant."""
    return Model(db, TenantUserDocument).collection.find_one({"tenantId": tenant_id}) is not None
