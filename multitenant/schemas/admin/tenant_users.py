"""Which email address belongs to which tenant. No password, ever."""

from mongoengine import Document, ObjectIdField, StringField


class TenantUserDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """One membership. `_id` is that of the user in the tenant's database.

    A copy of a tenant has users of the same ids as the original. So the memberships that a copy,
    or a restore, makes have an `_id` of their own, and `userId`.
    """

    meta = {
        "collection": "tenantusers",
        "auto_create_index": False,
        "indexes": [{"fields": ["email", "tenant_id"], "unique": True}, "tenant_id"],
    }

    id = ObjectIdField(primary_key=True)
    user_id = ObjectIdField(db_field="userId")
    email = StringField(required=True, max_length=254)
    tenant_id = ObjectIdField(db_field="tenantId", required=True)
