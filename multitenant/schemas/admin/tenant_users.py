"""Which email address belongs to which tenant. No password, ever."""

from mongoengine import Document, ObjectIdField, StringField


class TenantUserDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """One membership. `_id` is that of the user in the tenant's database."""

    meta = {
        "collection": "tenantusers",
        "auto_create_index": False,
        "indexes": [{"fields": ["email", "tenant_id"], "unique": True}, "tenant_id"],
    }

    id = ObjectIdField(primary_key=True)
    email = StringField(required=True, max_length=254)
    tenant_id = ObjectIdField(db_field="tenantId", required=True)
