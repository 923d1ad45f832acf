"""Who did what, when, from where: the stored record, the query and the answer."""

from typing import Any

from mongoengine import DateTimeField, DictField, Document, ObjectIdField, StringField
from pydantic import Field

from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import Answer, Id, Line, Time


class AuditDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """One action that took effect. Written in the transaction of that effect."""

    meta = {
        "collection": "audit",
        "auto_create_index": False,
        "indexes": [["at", "_id"], ["tenant_id", "at", "_id"]],
    }

    at = DateTimeField(required=True)
    actor = ObjectIdField(required=True)
    action = StringField(required=True, max_length=64)
    tenant_id = ObjectIdField(db_field="tenantId", required=True)
    request_id = StringField(db_field="requestId", required=True, max_length=128)
    ip = StringField(max_length=64)
    details = DictField()


class AuditQuery(PageQuery):
    """The filters of the audit log, newest first."""

    order_by = "at"

    tenant_id: Id | None = Field(None, description="The tenant that was acted on")
    actor: Id | None = Field(None, description="The user who acted")
    action: Line | None = Field(None, description="Such as `tenant.suspend`")
    since: Time | None = None
    until: Time | None = None


class AuditAnswer(Answer):
    """One entry of the audit log."""

    id: Id
    at: Time
    actor: Id
    action: str
    tenant_id: Id
    request_id: str
    ip: str | None = None
    details: dict[str, Any] = {}
