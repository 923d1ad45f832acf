"""The audit log."""

import re
from typing import Any

from multitenant.repositories.model import Model, MongoDatabase, utc_now
from multitenant.schemas.admin.audit import AuditDocument
from multitenant.schemas.paging import Page, PageQuery


def insert_audit(db: MongoDatabase, **fields: Any) -> None:
    """Record an action, now. Call it in the transaction that makes the action happen."""
    Model(db, AuditDocument).insert(at=utc_now(), **fields)


def list_actions(db: MongoDatabase, kind: str) -> list[str]:
    """Return the actions of a kind (`tenant`, say) of which there are entries. The index alone
    tells, with one look for each."""
    of_kind = {"action": {"$regex": f"^{re.escape(kind)}\\."}}
    actions: list[str] = Model(db, AuditDocument).collection.distinct("action", of_kind)
    return actions


def list_audit(db: MongoDatabase, wanted: dict[str, Any], query: PageQuery) -> Page:
    """Return a page of the entries that fit `wanted`, newest first."""
    return Model(db, AuditDocument).find_page(wanted, query, newest_first=True)
