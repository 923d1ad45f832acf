"""A tenant, as the request path knows it."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Self

from bson import ObjectId

from multitenant.errors import ModuleDisabled, TenantMaintenance, TenantSuspended, TokenRevoked
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.security.field_encryption import EncryptedField
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER

MAINTENANCE_RETRY_SECONDS = 5
READ_ONLY_RETRY_SECONDS = 1
"""That is a matter of a moment."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """One tenant's record, without what requests do not need. Immutable, safe to share."""

    id: ObjectId
    name: str
    subdomain: str | None
    domains: tuple[str, ...]
    db_name: str
    cluster: str
    isolation: str
    status: str
    system: bool
    modules: frozenset[str] | None = None
    """The modules it has bought; None stands for all."""
    maintenance_until: datetime | None = None
    """When its maintenance ends by itself, if it does."""
    read_only: bool = False
    """Whether it may be read during its maintenance."""
    db_uri: EncryptedField | None = field(default=None, repr=False)
    credentials: EncryptedField | None = field(default=None, repr=False)

    @classmethod
    def of(cls, record: MongoDocument) -> Self:
        """Read a record of the admin database, which must be intact."""
        return cls(
            id=record["_id"],
            name=record["name"],
            subdomain=record.get("subdomain"),
            domains=tuple(record.get("domains", ())),
            db_name=record["dbName"],
            cluster=record["cluster"],
            isolation=record["isolation"],
            status=record["status"],
            system=record["system"],
            modules=frozenset(record["modules"]) if "modules" in record else None,
            maintenance_until=record.get("maintenanceUntil"),
            read_only=bool(record.get("readOnly")),
            db_uri=record.get("dbUri"),
            credentials=record.get("credentials"),
        )

    @property
    def has_own_server(self) -> bool:
        """Whether its database is on a server that somebody else runs, and may answer anything."""
        return self.cluster == EXTERNAL_CLUSTER

    @property
    def placement(self) -> tuple[object, ...]:
        """What decides which client and database serve it; when it changes, so must they."""
        return (self.cluster, self.isolation, self.db_name, self.db_uri, self.credentials)

    @property
    def has_expired_maintenance(self) -> bool:
        """Whether its maintenance is over, and its record does not say so yet."""
        return (
            self.status == "maintenance"
            and self.maintenance_until is not None
            and self.maintenance_until <= utc_now()
        )

    def ensure_usable(self, *, for_reading: bool = False) -> None:
        """Return if the tenant may work, or, `for_reading`, at least be read. Otherwise raise
        TenantSuspended, TenantMaintenance, or TokenRevoked when it is deleted."""
        if self.status == "active":
            return
        if self.status == "maintenance":
            if not self.read_only:
                raise TenantMaintenance(retry_after=MAINTENANCE_RETRY_SECONDS)
            if for_reading:
                return
            raise TenantMaintenance(retry_after=READ_ONLY_RETRY_SECONDS)
        if self.status == "deleted":
            raise TokenRevoked("The tenant of this token no longer exists")
        raise TenantSuspended()

    def ensure_has_module(self, module: str) -> None:
        """Return if the tenant has bought the module; otherwise raise ModuleDisabled."""
        if self.modules is not None and module not in self.modules:
            raise ModuleDisabled(f"This tenant does not have the module '{module}'")

    def role_of(self, user: MongoDocument) -> str:
        """The role of the tenant's user in tokens: everyone in a system tenant operates."""
        return "operator" if self.system else str(user["role"])
