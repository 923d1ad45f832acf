"""Which processes serve tenants, and what they have answered."""

from mongoengine import DateTimeField, Document, ListField, ObjectIdField, StringField


class ProcessDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """A process that may serve tenants, and when it was last known to live, by MongoDB's clock."""

    meta = {"collection": "processes", "auto_create_index": False, "indexes": ["seen_at"]}

    id = StringField(primary_key=True)
    seen_at = DateTimeField(db_field="seenAt", required=True)


class HandshakeDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """Asks every process to have read a tenant's record, and to have ended what it began before
    with that tenant. Each adds itself to `answered`."""

    meta = {"collection": "handshakes", "auto_create_index": False, "indexes": ["tenant_id"]}

    id = ObjectIdField(primary_key=True)
    tenant_id = ObjectIdField(db_field="tenantId", required=True)
    answered = ListField(StringField())
