"""The rules of tenant records. What also touches a tenant's database is in `tenancy/`."""

from bson import ObjectId

from multitenant.errors import Conflict, NotFound
from multitenant.repositories.admin import tenants as repository
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenants import TenantChanges, TenantQuery


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


def change_tenant(
    admin_db: MongoDatabase, tenant_id: ObjectId, changes: TenantChanges
) -> MongoDocument:
    """Change what `changes` names and return the record.

    Raises NotFound, AlreadyExists with the field that is taken, and Conflict for the operators'
    own tenant, which the platform needs as it is.
    """
    if get_tenant(admin_db, tenant_id)["system"]:
        raise Conflict("The operators' own tenant cannot be changed")
    fields = changes.changes()
    if not fields.get("domains", True):
        fields["domains"] = None
    changed = repository.update_tenant(admin_db, tenant_id, **fields)
    if changed is None:
        raise NotFound("There is no such tenant")
    return changed
