"""Reading the audit log."""

from typing import Any

from multitenant.repositories.admin import audit as repository
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.admin.audit import AuditQuery


def list_audit(admin_db: MongoDatabase, query: AuditQuery) -> list[MongoDocument]:
    """Return a page and one more entry, if there is one, which tells that a next page exists."""
    wanted: dict[str, Any] = {
        field: value
        for field, value in (
            ("tenantId", query.tenant_id),
            ("actor", query.actor),
            ("action", query.action),
        )
        if value is not None
    }
    period = {"$gte": query.since, "$lt": query.until}
    if period := {operator: value for operator, value in period.items() if value is not None}:
        wanted["at"] = period
    return repository.list_audit(admin_db, wanted, limit=query.limit + 1, before=query.after())
