"""What tenants use: answers."""

from typing import Annotated

from multitenant.schemas.admin.tenants import TenantStatus
from multitenant.schemas.answers import ErrorCode
from multitenant.schemas.payload import Answer, Id
from multitenant.schemas.stored import OrNull


class CollectionUsage(Answer):
    """One collection: its documents, the bytes of their data, and what they and the indexes take
    on disk."""

    name: str
    documents: int
    bytes: int
    disk_bytes: int


class UnmeasuredCollection(Answer):
    """A collection whose size is not known, and why."""

    name: str
    message: str


class UsageAnswer(Answer):
    """One tenant: its sums, its collections, and how many more it has, the first of them named."""

    tenant_id: Id
    name: str
    status: Annotated[TenantStatus | None, OrNull]
    documents: int
    bytes: int
    disk_bytes: int
    collections: list[CollectionUsage]
    unmeasured: list[UnmeasuredCollection]
    unmeasured_count: int


class UsageFailure(Answer):
    """One tenant of the page whose database did not tell, and why."""

    tenant_id: Id
    name: str
    code: ErrorCode
    message: str


class UsagePageAnswer(Answer):
    """The usage of a page of tenants, and those of the page whose databases did not tell."""

    items: list[UsageAnswer]
    errors: list[UsageFailure]
    next_cursor: str | None
