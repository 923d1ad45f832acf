"""Who did what, when, from where: the stored record, the query and the answer."""

from typing import Annotated, Literal, get_args

from mongoengine import DateTimeField, DictField, Document, ObjectIdField, StringField
from pydantic import Field
from typing_extensions import TypeAliasType

from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import Id, Time
from multitenant.schemas.stored import Json, StoredAnswer

Outcome = TypeAliasType("Outcome", Literal["success", "failure"])


class AuditDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """One event. Written in the transaction of what it tells, or before it is answered.

    `actor` is a user; None where nobody had proved who they are, and on the command line, which
    leaves the system's user in `osUser`. With impersonation `actor` is the operator, and
    `actingAs` the user whose token it was.
    """

    meta = {
        "collection": "audit",
        "auto_create_index": False,
        "indexes": [
            ["at", "_id"],
            ["tenant_id", "at", "_id"],
            ["actor", "at", "_id"],
            ["action", "at", "_id"],
            ["outcome", "at", "_id"],
            ["tenant_id", "action", "at", "_id"],
            ["tenant_id", "outcome", "at", "_id"],
            {"fields": ["expires_at"], "expireAfterSeconds": 0},
        ],
    }

    at = DateTimeField(required=True)
    actor = ObjectIdField()
    acting_as = ObjectIdField(db_field="actingAs")
    os_user = StringField(db_field="osUser", max_length=64)
    action = StringField(required=True, max_length=64)
    outcome = StringField(required=True, choices=get_args(Outcome.__value__))
    tenant_id = ObjectIdField(db_field="tenantId")
    request_id = StringField(db_field="requestId", required=True, max_length=128)
    ip = StringField(max_length=64)
    details = DictField()
    # Of refused logins, which anybody can cause.
    expires_at = DateTimeField(db_field="expiresAt")


class AuditQuery(PageQuery):
    """The filters of the audit log, newest first."""

    order_by = "at"

    tenant_id: Id | None = Field(None, description="The tenant that was acted on")
    actor: Id | None = Field(None, description="The user who acted")
    action: Annotated[str, Field(max_length=64, pattern=r"^[a-z]+\.([a-z_]+|\*)$")] | None = Field(
        None, description="Such as `tenant.suspend`, or `tenant.*`"
    )
    outcome: Outcome | None = None
    since: Time | None = None
    until: Time | None = None


class AuditAnswer(StoredAnswer):
    """One entry of the audit log."""

    id: Id
    at: Time
    actor: Id | None = None
    acting_as: Id | None = None
    os_user: str | None = None
    action: str
    outcome: Outcome
    tenant_id: Id | None = None
    request_id: str
    ip: str | None = None
    details: dict[str, Json] = {}
