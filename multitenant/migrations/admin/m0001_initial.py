"""Collections and indexes of the first release."""

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.audit import AuditDocument
from multitenant.schemas.admin.idempotency_keys import IdempotencyKeyDocument
from multitenant.schemas.admin.provisionings import ProvisioningDocument
from multitenant.schemas.admin.revocations import RevocationDocument
from multitenant.schemas.admin.tenant_users import TenantUserDocument
from multitenant.schemas.admin.tenants import TenantDocument


def up(db: MongoDatabase) -> None:
    """Create them; may run again."""
    for document in (
        TenantDocument,
        TenantUserDocument,
        ProvisioningDocument,
        RevocationDocument,
        IdempotencyKeyDocument,
        AuditDocument,
    ):
        Model(db, document).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Nothing: dropping the first collections would drop every tenant."""
