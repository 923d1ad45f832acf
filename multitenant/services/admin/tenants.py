"""Looking at tenants. What becomes of them is in `tenancy/tenant_lifecycle.py`."""

from bson import ObjectId

from multitenant.errors import NotFound
from multitenant.repositories.admin import tenants as repository
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenants import TenantQuery


def list_tenants(admin_db: MongoDatabase, query: TenantQuery) -> list[MongoDocument]:
    """Return a page and one more tenant, if there is one, which tells that a next page exists."""
    return repository.list_tenants(
        admin_db, status=query.status, text=query.q, limit=query.limit + 1, after=query.after()
    )


def get_tenant(admin_db: MongoDatabase, tenant_id: ObjectId) -> MongoDocument:
    """Return the tenant's record; raises NotFound."""
    tenant = repository.find_tenant(admin_db, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant")
    return tenant
