"""The audit log."""

from typing import Any

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.admin.audit import AuditDocument


def insert_audit(db: MongoDatabase, **fields: Any) -> None:
    """Record an action, now. Call it in the transaction that makes the action happen."""
    Model(db, AuditDocument).insert(at=utc_now(), **fields)


def list_audit(
    db: MongoDatabase, query: dict[str, Any], *, limit: int, before: ObjectId | None
) -> list[MongoDocument]:
    """Return a page of entries, newest first."""
    return Model(db, AuditDocument).find_page(query, limit=limit, after=before, newest_first=True)
