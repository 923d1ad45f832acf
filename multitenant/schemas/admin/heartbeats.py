"""The heartbeat of the admin database."""

from mongoengine import Document, StringField


class HeartbeatDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """The one document that is written again and again while the platform runs: a process that
    sees such a write in its change stream knows that everything before it was seen, too."""

    meta = {"collection": "heartbeats", "auto_create_index": False}

    id = StringField(primary_key=True)
    writer = StringField(required=True)
