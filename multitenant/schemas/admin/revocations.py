"""Tokens that were withdrawn before their time."""

from mongoengine import BooleanField, DateTimeField, Document, IntField, StringField


class RevocationDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """`_id` is a token id, a token family, `<tenant id>/<user id>`, or `<tenant id>/`.

    `used` marks a refresh token that is exchanged for the next pair, `unanswered` until the client
    is about to be answered; it may be used again until `reusableUntil`. For a user, `version`
    withdraws every token whose `ver` claim is lower, but those of `exceptFamily`; for all users of
    a tenant, those that were issued until `issuedUntil`: users who come later begin at 0. MongoDB
    removes the record when the last such token has expired.
    """

    meta = {
        "collection": "revocations",
        "auto_create_index": False,
        "indexes": [{"fields": ["expires_at"], "expireAfterSeconds": 0}],
    }

    id = StringField(primary_key=True)
    used = BooleanField()
    unanswered = BooleanField()
    reusable_until = DateTimeField(db_field="reusableUntil")
    version = IntField()
    except_family = StringField(db_field="exceptFamily")
    issued_until = DateTimeField(db_field="issuedUntil")
    expires_at = DateTimeField(db_field="expiresAt", required=True)
