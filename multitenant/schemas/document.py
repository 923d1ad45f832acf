"""What stored documents have in common."""

from typing import Any

from mongoengine import DateTimeField, Document


class DatedDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """A document that says when it was made, by which lists are ordered, and last changed."""

    meta: dict[str, Any] = {"abstract": True, "auto_create_index": False}

    created_at = DateTimeField(db_field="createdAt", required=True)
    updated_at = DateTimeField(db_field="updatedAt", required=True)
