"""Collections and indexes of the first release."""

from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.admin.audit import AuditDocument
from multitenant.schemas.admin.idempotency_keys import IdempotencyKeyDocument
from multitenant.schemas.admin.provisionings import ProvisioningDocument
from multitenant.schemas.admin.revocations import RevocationDocument
from multitenant.schemas.admin.tenant_users import TenantUserDocument
from multitenant.schemas.admin.tenants import TenantDocument

CREATES = (
    TenantDocument,
    TenantUserDocument,
    ProvisioningDocument,
    RevocationDocument,
    IdempotencyKeyDocument,
    AuditDocument,
)


def down(db: MongoDatabase) -> None:
    """Nothing: dropping the first collections would drop every tenant."""
