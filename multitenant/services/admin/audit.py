"""Reading the audit log."""

from typing import Any

from multitenant.repositories.admin import audit as repository
from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.admin.audit import AuditQuery
from multitenant.schemas.paging import Page


def list_audit(admin_db: MongoDatabase, query: AuditQuery) -> Page:
    """Return a page of entries, newest first."""
    wanted: dict[str, Any] = {
        field: value
        for field, value in (
            ("tenantId", query.tenant_id),
            ("actor", query.actor),
            ("action", _action(admin_db, query.action)),
            ("outcome", query.outcome),
        )
        if value is not None
    }
    period = {"$gte": query.since, "$lt": query.until}
    if period := {operator: value for operator, value in period.items() if value is not None}:
        wanted["at"] = period
    return repository.list_audit(admin_db, wanted, query)


def _action(admin_db: MongoDatabase, wanted: str | None) -> Any:
    """The condition for an action; `tenant.*` stands for all of its kind, which are named, so that
    MongoDB can merge them in the order of the index."""
    if wanted is None or not wanted.endswith(".*"):
        return wanted
    return {"$in": repository.list_actions(admin_db, wanted.removesuffix(".*"))}
