"""What an `Idempotency-Key` has already brought about."""

from mongoengine import DateTimeField, Document, IntField, ObjectIdField, StringField


class IdempotencyKeyDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """Written in the transaction that it makes repeatable, so the two exist together or not."""

    meta = {
        "collection": "idempotencykeys",
        "auto_create_index": False,
        "indexes": [{"fields": ["expires_at"], "expireAfterSeconds": 0}, "tenant_id"],
    }

    id = StringField(primary_key=True)
    fingerprint = StringField(required=True)
    tenant_id = ObjectIdField(db_field="tenantId", required=True)
    user_id = ObjectIdField(db_field="userId", required=True)
    invitation_id = StringField(db_field="invitationId")
    invitation_seconds = IntField(db_field="invitationSeconds")
    made_at = DateTimeField(db_field="madeAt", required=True)
    expires_at = DateTimeField(db_field="expiresAt", required=True)
