"""Memberships: which email belongs to which tenant."""

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenant_users import TenantUserDocument


def insert_tenant_user(
    db: MongoDatabase, user_id: ObjectId, *, email: str, tenant_id: ObjectId
) -> MongoDocument:
    """Record that the user belongs to the tenant; raises AlreadyExists with `email`."""
    return Model(db, TenantUserDocument).insert(id=user_id, email=email, tenant_id=tenant_id)


def find_tenant_ids(db: MongoDatabase, email: str) -> list[ObjectId]:
    """Return the ids of all tenants that the (normalised) email belongs to."""
    memberships = Model(db, TenantUserDocument).collection.find({"email": email}, {"tenantId": 1})
    return [membership["tenantId"] for membership in memberships]
