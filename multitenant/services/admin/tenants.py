"""Looking at tenants. What becomes of them is in `tenancy/lifecycle/tenant_lifecycle.py`."""

from bson import ObjectId

from multitenant.errors import Conflict, NotFound
from multitenant.repositories.admin import tenants as repository
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenants import TenantQuery
from multitenant.schemas.paging import Page


def list_tenants(admin_db: MongoDatabase, query: TenantQuery) -> Page:
    """Return a page of tenants, oldest first."""
    return repository.list_tenants(admin_db, query)


def get_tenant(admin_db: MongoDatabase, tenant_id: ObjectId) -> MongoDocument:
    """Return the tenant's record as it is stored; raises NotFound."""
    tenant = repository.find_stored_tenant(admin_db, tenant_id)
    if tenant is None:
        raise NotFound("There is no such tenant")
    return tenant


def get_named_tenant(admin_db: MongoDatabase, named: str) -> MongoDocument:
    """Return the record of the one tenant whose id, subdomain or name (in any case) that is.

    Raises NotFound, and Conflict when it is one tenant's name and another's subdomain.
    """
    found = repository.find_tenants_for_migration(admin_db, named=[named])
    if not found:
        raise NotFound(f"There is no tenant {named!r}: name it by its id, subdomain or name")
    if len(found) > 1:
        them = " and ".join(f"{tenant['name']} ({tenant['_id']})" for tenant in found)
        raise Conflict(f"{named!r} is {them}: name the tenant by its id")
    return found[0]
