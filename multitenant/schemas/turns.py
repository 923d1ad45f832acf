"""What transactions write to take turns."""

from mongoengine import Document, DynamicField, IntField


class TurnDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """`_id` says whose turns these are. The number means nothing; that it is written does."""

    meta = {"collection": "turns", "auto_create_index": False}

    id = DynamicField(primary_key=True)
    taken = IntField(required=True)
