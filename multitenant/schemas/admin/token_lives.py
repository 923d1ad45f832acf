"""How long tokens live that are in force."""

from mongoengine import DateTimeField, Document, IntField


class TokenLifeDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """`_id` is a number of seconds: some process issues tokens that live so long, or did; the last
    of them has expired at `expiresAt`. There are as many as the settings had values."""

    meta = {"collection": "tokenlives", "auto_create_index": False}

    id = IntField(primary_key=True)
    expires_at = DateTimeField(db_field="expiresAt", required=True)
