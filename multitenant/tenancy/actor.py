"""Who is acting, for the audit log."""

from dataclasses import dataclass

from bson import ObjectId

from multitenant.repositories.admin import audit
from multitenant.repositories.model import MongoDatabase


@dataclass(frozen=True, slots=True)
class Actor:
    """A user in a request."""

    user_id: ObjectId
    request_id: str
    ip: str | None

    def record(
        self, admin_db: MongoDatabase, action: str, tenant_id: ObjectId, **details: object
    ) -> None:
        """Write to the audit log that this actor did this to the tenant. Call it in the
        transaction of the deed: then neither exists without the other."""
        audit.insert_audit(
            admin_db,
            actor=self.user_id,
            action=action,
            tenant_id=tenant_id,
            request_id=self.request_id,
            ip=self.ip,
            details=details,
        )
