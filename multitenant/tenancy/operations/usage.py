"""How much each tenant stores, also across all of them."""

import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.errors import DatabaseUnavailable, DomainError, NotFound, TokenRevoked
from multitenant.repositories.admin.damaged_records import legible
from multitenant.repositories.admin.tenants import list_tenants
from multitenant.repositories.model import MongoDocument, shorten
from multitenant.repositories.usage import collection_sizes, database_size
from multitenant.schemas.admin.tenants import TenantDocument, TenantQuery
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

PARALLEL = 8
"""At most so many databases are asked at a time, for one request."""
TENANT_SECONDS = 3.0
"""After this time a tenant's database counts as not answering."""

PAGE_COLLECTIONS = 10_000
"""A page ends after the tenant with which it has more collections than this."""

SUMMED = ("documents", "bytes", "diskBytes")


@dataclass(frozen=True, slots=True)
class UsagePage:
    """The usage of a page of tenants, and the failures: `tenantId`, `name`, `code`, `message`."""

    items: list[MongoDocument]
    failures: list[MongoDocument]
    next_cursor: str | None


class Usage:
    """Asks tenants' databases how much is in them."""

    def __init__(self, connections: ConnectionManager, *, pool_size: int) -> None:
        """`pool_size` is how many connections there are for everything; half of them stay free."""
        self._connections = connections
        self._parallel = max(1, min(PARALLEL, pool_size // 2))

    def of_tenant(self, tenant_id: ObjectId) -> MongoDocument:
        """Return `tenantId`, `name`, `status`, the database's sums, its `collections` and those
        that were not measured; raises NotFound, and PyMongo's errors."""
        try:
            lease = self._connections.lease(tenant_id)
        except TokenRevoked as error:
            raise NotFound("There is no such tenant") from error
        with lease, widened_scope(lease.tenant.db_name):
            sizes = collection_sizes(lease.database)
            sums = {field: sum(each[field] for each in sizes.measured) for field in SUMMED}
            if sizes.unmeasured_count:
                whole = database_size(lease.database)
                sums = {field: int(whole[field]) for field in SUMMED}
        return {
            "tenantId": tenant_id,
            "name": lease.tenant.name,
            "status": lease.tenant.status,
            **sums,
            "collections": sizes.measured,
            "unmeasured": sizes.unmeasured,
            "unmeasuredCount": sizes.unmeasured_count,
        }

    def of_page(self, query: TenantQuery) -> UsagePage:
        """Return the usage of a page of tenants, oldest first. A tenant whose database does not
        tell is among the failures, and holds the others up for TENANT_SECONDS at most. The page
        is bounded in collections as well."""
        page = list_tenants(self._connections.admin_db, query)
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="usage") as pool:
            # In a copy of this context each: what a tenant's thread may touch is its own affair.
            asked = [pool.submit(copy_context().run, self._ask, record) for record in page.items]
        told = [question.result() for question in asked]
        shown = shorten(page, _count_within(told), TenantDocument)
        told = told[: len(shown.items)]
        return UsagePage(
            items=[answer for answer in told if "code" not in answer],
            failures=[answer for answer in told if "code" in answer],
            next_cursor=shown.next_cursor,
        )

    def _ask(self, record: MongoDocument) -> MongoDocument:
        """Return the tenant's usage or, with a `code`, why there is none."""
        try:
            with pymongo.timeout(TENANT_SECONDS):
                return self.of_tenant(record["_id"])
        except DomainError as error:
            failure = error
        except PyMongoError as error:
            logger.warning("No usage of tenant %s: %s", record["_id"], type(error).__name__)
            failure = DatabaseUnavailable("The tenant's database does not answer")
        except Exception as error:  # one tenant must not hide all others
            logger.error("No usage of tenant %s", record["_id"], exc_info=error)
            failure = DomainError("Something went wrong; quote the requestId to us")
        return {
            "tenantId": record["_id"],
            "name": legible([record])[0]["name"],
            "code": failure.code,
            "message": failure.message,
        }


def _count_within(told: list[MongoDocument]) -> int:
    """How many of these tenants have PAGE_COLLECTIONS together, the last one included."""
    collections = 0
    for count, answer in enumerate(told, 1):
        collections += len(answer.get("collections", ()))
        if collections > PAGE_COLLECTIONS:
            return count
    return len(told)
