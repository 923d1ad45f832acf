"""Databases on their way to a tenant, or away from one."""

from mongoengine import (
    BooleanField,
    DateTimeField,
    DictField,
    Document,
    IntField,
    ObjectIdField,
    StringField,
)


class ProvisioningDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """Says that a database is this platform's and no tenant's (yet, or any more).

    It is written before the database, and removed in the transaction that inserts the tenant;
    it comes back, with `purged`, in the one that removes the tenant. `droppingSince` claims the
    database for dropping; with `preparedVersion` it waits, ready, for a tenant. `_id` is that of
    the tenant.

    A tenant that exists may get another database (it is restored, say). The note of that has an
    `_id` of its own, and `tenantId`; and so, with `kept`, has the note of the one it had before,
    which is kept for a while.
    """

    meta = {
        "collection": "provisionings",
        "auto_create_index": False,
        "indexes": [
            "started_at",
            ["cluster", "purged", "dropping_since"],
            {
                "fields": ["prepared_version", "cluster", "started_at"],
                "partialFilterExpression": {"preparedVersion": {"$exists": True}},
            },
            {
                "fields": ["tenant_id", "started_at"],
                "partialFilterExpression": {"tenantId": {"$exists": True}},
            },
            {
                "fields": ["kept", "started_at"],
                "partialFilterExpression": {"kept": True},
            },
        ],
    }

    id = ObjectIdField(primary_key=True)
    db_name = StringField(db_field="dbName", required=True, max_length=63)
    cluster = StringField(required=True)
    db_uri = DictField(db_field="dbUri", default=None)
    tenant_id = ObjectIdField(db_field="tenantId")
    has_users = BooleanField(db_field="hasUsers", required=True, default=False)
    started_at = DateTimeField(db_field="startedAt", required=True)
    purged = BooleanField(required=True, default=False)
    kept = BooleanField(default=None)
    # The tenant was moved away from it: what is in it is old.
    moved = BooleanField(default=None)
    prepared_version = IntField(db_field="preparedVersion")
    dropping_since = DateTimeField(db_field="droppingSince")
