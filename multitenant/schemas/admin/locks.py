"""Work that one process does at a time."""

from mongoengine import DateTimeField, Document, StringField


class LockDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """Who does the work named `_id`, and until when they may be trusted to be alive."""

    meta = {"collection": "locks", "auto_create_index": False, "indexes": ["holder"]}

    id = StringField(primary_key=True)
    holder = StringField(required=True)
    until = DateTimeField(required=True)
    # When the holder last made sure of it in a transaction, which whoever takes it then waits for.
    checked_at = DateTimeField(db_field="checkedAt")
