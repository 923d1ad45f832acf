"""Looking at tenants. What becomes of them is in `tenancy/tenant_lifecycle.py`."""

from bson import ObjectId

from multitenant.errors import NotFound
from multitenant.repositories.admin import tenants as repository
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenants import TenantQuery
from multitenant.schemas.paging import Page


def list_tenants(admin_db: MongoDatabase, query: TenantQuery) -> Page:
    """Return a page of tenants, oldest first."""
    return repository.list_tenants(admin_db, query)


def get_tenant(admin_db: MongoDatabase, tenant_id: ObjectId) -> MongoDocument:
    """Return the tenant's record; raises NotFound."""
    tenant = repository.find_tenant(admin_db, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant")
    return tenant
