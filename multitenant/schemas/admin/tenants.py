"""Tenants: the stored record, the payloads of the operators' API, and what it answers."""

import re
import unicodedata
from typing import Annotated, Literal, get_args

from mongoengine import (
    BooleanField,
    DateTimeField,
    DictField,
    Document,
    IntField,
    ListField,
    StringField,
)
from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from typing_extensions import TypeAliasType

from multitenant.schemas.host_labels import is_encoded, is_reserved
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import (
    UNSET,
    Absent,
    Answer,
    Changes,
    Email,
    Headers,
    Id,
    Line,
    NewPassword,
    Payload,
    Time,
)
from multitenant.schemas.stored import StoredAnswer

TenantStatus = TypeAliasType(
    "TenantStatus", Literal["active", "suspended", "maintenance", "deleted"]
)
Isolation = TypeAliasType("Isolation", Literal["shared", "dedicated"])
Module = TypeAliasType("Module", Literal["todos", "employees", "posts", "orders"])
STATUSES: tuple[str, ...] = get_args(TenantStatus.__value__)
MODULES: tuple[str, ...] = get_args(Module.__value__)
ISOLATIONS: tuple[str, ...] = get_args(Isolation.__value__)
JOINERS = "\u200c\u200d"
CASE_INSENSITIVE = {"locale": "en", "strength": 2}


class TenantDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """A tenant as the admin database keeps it. Its existence is the tenant's existence."""

    meta = {
        "collection": "tenants",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["name"], "unique": True, "collation": CASE_INSENSITIVE},
            {"fields": ["subdomain"], "unique": True, "sparse": True},
            {"fields": ["domains"], "unique": True, "sparse": True},
            ["created_at", "_id"],
            ["status", "created_at", "_id"],
            ["cluster", "created_at"],
            ["schema_version"],
            {
                "fields": ["status", "deleted_at"],
                "partialFilterExpression": {"deletedAt": {"$exists": True}},
            },
            # No two tenants have one database; of servers of their own, `dbUri` is another each.
            {"fields": ["cluster", "db_name", "db_uri"], "unique": True},
        ],
    }

    name = StringField(required=True, min_length=1, max_length=100)
    subdomain = StringField(max_length=63)
    # None rather than an empty list: the sparse unique index would take two empty ones for equal
    domains = ListField(StringField(max_length=253), default=None)
    db_name = StringField(db_field="dbName", required=True, max_length=63)
    # Encrypted; see security/field_encryption.py. The URI is there only where the tenant brought a
    # server of its own, the credentials where the platform made it a MongoDB user.
    db_uri = DictField(db_field="dbUri", default=None)
    credentials = DictField(default=None)
    cluster = StringField(required=True)
    isolation = StringField(required=True, choices=ISOLATIONS)
    status = StringField(required=True, choices=STATUSES)
    modules = ListField(StringField(choices=MODULES), default=None)
    user_limit = IntField(db_field="userLimit", min_value=1)
    system = BooleanField(required=True, default=False)
    schema_version = IntField(db_field="schemaVersion", required=True)
    created_at = DateTimeField(db_field="createdAt", required=True)
    updated_at = DateTimeField(db_field="updatedAt", required=True)
    # Maintenance ends by itself then: whoever set it may have been killed. Without it, it does not.
    maintenance_until = DateTimeField(db_field="maintenanceUntil")
    # Whose maintenance it is: one run of one command, which alone may extend and end it.
    maintenance_holder = StringField(db_field="maintenanceHolder")
    # In this maintenance the tenant may be read (while it moves, say).
    read_only = BooleanField(db_field="readOnly", default=None)
    suspended_at = DateTimeField(db_field="suspendedAt")
    deleted_at = DateTimeField(db_field="deletedAt")


def _subdomain(value: str) -> str:
    label = value.strip().lower()
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", label):
        raise ValueError("must be 1 to 63 letters, digits and hyphens, with none at the ends")
    if is_encoded(label):
        raise ValueError("must not have hyphens as its third and fourth characters, as 'xn--' does")
    if is_reserved(label):
        raise ValueError(f"{label!r} is reserved")
    return label


def _domain(value: str) -> str:
    name = value.strip().lower().rstrip(".")
    label = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
    if len(name) > 253 or not re.fullmatch(rf"({label}\.)+[a-z]({label})?", name):
        raise ValueError(
            "must be a domain name such as 'app.acme.example', in ASCII: other letters as 'xn--…'"
        )
    return name


def _no_id(value: str) -> str:
    if re.fullmatch(r"[0-9a-fA-F]{24}", value):
        raise ValueError("must not look like an id: a login may name a tenant by either")
    return value


def _plain(value: str) -> str:
    """What makes a name look like another one, or run backwards, is for no name; joiners are part
    of some scripts."""
    if any(unicodedata.category(it) == "Cf" and it not in JOINERS for it in value):
        raise ValueError("must not have characters that only change how others are shown")
    return value


def _unique(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("must not name one twice")
    return values


UNIQUE = Field(json_schema_extra={"uniqueItems": True})
TenantName = Annotated[Line, Field(max_length=100), AfterValidator(_no_id), AfterValidator(_plain)]
Subdomain = Annotated[str, Field(max_length=63), AfterValidator(_subdomain), AfterValidator(_no_id)]
Domain = Annotated[str, Field(max_length=253), AfterValidator(_domain)]
Domains = Annotated[list[Domain], Field(max_length=20), AfterValidator(_unique), UNIQUE]
Modules = Annotated[list[Module], AfterValidator(_unique), UNIQUE]
UserLimit = Annotated[int, Field(strict=True, ge=1, le=1_000_000)]
DbUri = Annotated[
    SecretStr,
    Field(min_length=1, max_length=2000),
    WithJsonSchema({"type": "string", "format": "password", "minLength": 1, "maxLength": 2000}),
]


Cluster = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]


def _no_cluster_with_a_server(value: str | None, info: ValidationInfo) -> str | None:
    if value is not None and info.data.get("db_uri") is not None:
        raise ValueError("must be left out with dbUri, which says where the tenant lives")
    return value


class AddHeaders(Headers):
    """What comes with adding a tenant."""

    idempotency_key: str | None = Field(
        None,
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x20-\x7e]+$",
        description="A request that is sent again with its key answers the first result",
    )


class NewTenant(Payload):
    """What an operator sends to add a tenant. Without a password its first user is invited."""

    example = {
        "name": "Acme",
        "email": "ann@acme.example",
        "password": "ann has a password",
        "subdomain": "acme",
    }

    name: TenantName = Field(examples=["Acme"])
    email: Email = Field(description="The first user, who owns the tenant")
    password: NewPassword | None = None
    subdomain: Subdomain | None = None
    isolation: Isolation | None = Field(
        None, description="`shared` without it; with `dbUri` a tenant is always `dedicated`"
    )
    db_uri: DbUri | None = Field(
        None,
        description="A MongoDB replica set of the tenant's own, with user and password; the path"
        " may name the (empty) database to use",
        examples=[None],
    )
    cluster: Cluster | None = Field(
        None,
        description="The name of an open cluster; without it the platform chooses by free capacity",
        examples=[None],
    )
    modules: Modules | None = Field(None, description="Without it the tenant has all modules")
    user_limit: UserLimit | None = None

    @field_validator("db_uri")
    @classmethod
    def _own_servers_are_dedicated(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if value is not None and info.data.get("isolation") == "shared":
            raise ValueError("makes a tenant dedicated: leave isolation out")
        return value

    _cluster = field_validator("cluster")(_no_cluster_with_a_server)


class TenantCopy(Payload):
    """A new tenant with another one's data. What is left out is as it is there."""

    name: TenantName
    subdomain: Subdomain | None = None
    isolation: Isolation | None = None
    db_uri: DbUri | None = None
    cluster: Cluster | None = None
    modules: Modules | None = None
    user_limit: UserLimit | None = None

    _cluster = field_validator("cluster")(_no_cluster_with_a_server)


class TenantChanges(Changes):
    """What an operator may change; `null` removes a subdomain, the domains or a limit."""

    example = {"domains": ["app.acme.example"], "userLimit": 25}

    name: TenantName = UNSET
    subdomain: Subdomain | None = None
    domains: Domains | None = None
    modules: Modules | None = None
    user_limit: UserLimit | None = None
    isolation: Isolation = UNSET
    db_uri: DbUri = UNSET


class Impersonation(Payload):
    """What an operator sends to act as a tenant's user for a short time."""

    example = {"userId": "6b0147c1e83b5f0c6a4f2d12", "reason": "Ticket 4711"}

    user_id: Id
    reason: Annotated[Line, Field(min_length=3, max_length=200)] = Field(
        description="Why; it is kept in the audit log", examples=["Ticket 4711: cannot see orders"]
    )


class Purge(Payload):
    """What an operator sends to remove a tenant for good."""

    example = {"confirm": "Acme"}

    confirm: Annotated[str, Field(max_length=100)] = Field(description="The tenant's name")


class TenantQuery(PageQuery):
    """The filters of the list of tenants."""

    status: TenantStatus | None = None
    q: Annotated[Line, Field(max_length=100)] | None = Field(
        None, description="Part of the name or subdomain, in any case"
    )


class TenantAnswer(StoredAnswer):
    """A tenant as operators see it: no URI, no credentials."""

    id: Id
    name: str
    subdomain: str | None = None
    domains: list[str] = []
    db_name: str
    cluster: str
    isolation: Isolation
    status: TenantStatus
    modules: list[Module] | None = None
    user_limit: int | None = None
    system: bool
    schema_version: int
    created_at: Time
    updated_at: Time
    suspended_at: Time | None = None
    deleted_at: Time | None = None


class AddedTenantAnswer(Answer):
    """The tenant that was added, and its first user; the token, when that user is invited."""

    tenant_id: Id
    user_id: Id
    invitation_token: Annotated[str, Absent] = ""


class PurgeAnswer(Answer):
    """What was looked for after a purge, and whether it is gone."""

    gone: dict[str, bool]


class ImpersonationAnswer(Answer):
    """A short access token of the user; `expiresIn` is in seconds."""

    access_token: str
    expires_in: int
    user_id: Id
    tenant_id: Id
