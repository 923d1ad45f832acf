"""How full a cluster is: pure arithmetic on its record and the number of its tenants.

Every tenant has the same collections and indexes, so what a cluster holds follows from how many
databases of tenants are on it, times what one has: as was measured there last, and no less than the
schemas declare. So placing a tenant reads no tenant's database.
"""

from dataclasses import dataclass

from multitenant.repositories.model import MongoDocument
from multitenant.schemas.tenant import DOCUMENTS

RESOURCES = ("tenants", "collections", "indexes", "diskBytes")
# Collections without a document class of the tenants': applied migrations, and turns.
OTHER_COLLECTIONS = 2
NOMINAL = {"collections": 10_000}
"""By which clusters without limits are compared; it makes none full. As many as MongoDB recommends:
https://www.mongodb.com/developer/products/mongodb/schema-design-anti-pattern-massive-number-collections/"""


@dataclass(frozen=True, slots=True)
class Filling:
    """One resource of a cluster: how much there is, how much a tenant takes, and the limit."""

    resource: str
    used: float
    per_tenant: float
    limit: int | None

    @property
    def fits(self) -> bool:
        """Whether the limit holds."""
        return self.limit is None or self.used <= self.limit

    @property
    def free_tenants(self) -> int | None:
        """How many more tenants there is room for; None without a limit, or when a tenant takes
        none of it."""
        if self.limit is None or not self.per_tenant:
            return None
        return max(0, int((self.limit - self.used) / self.per_tenant))

    @property
    def free_share(self) -> float:
        """The part that is free, below 0 when there is more than there should be."""
        limit = self.limit or NOMINAL.get(self.resource)
        return 1 - self.used / limit if limit else 1.0


def declared_per_tenant() -> dict[str, float]:
    """What the schemas give each tenant, an index on `_id` for every collection included."""
    collections = len(DOCUMENTS) + OTHER_COLLECTIONS
    declared = sum(len(document._meta["index_specs"]) for document in DOCUMENTS)  # noqa: SLF001
    return {"collections": collections, "indexes": collections + declared}


def per_tenant(record: MongoDocument) -> dict[str, float]:
    """What one tenant takes of each resource on this cluster."""
    measured, declared = record.get("measured") or {}, declared_per_tenant()
    taken = {
        resource: max(measured.get(resource, 0), declared.get(resource, 0))
        for resource in RESOURCES
    }
    return {**taken, "tenants": 1}


def fillings(record: MongoDocument, places: int) -> list[Filling]:
    """Return how full each resource of the cluster is, with so many databases of tenants."""
    limits = record.get("capacity") or {}
    return [
        Filling(resource, places * taken, taken, limits.get(resource))
        for resource, taken in per_tenant(record).items()
    ]


def scarcest(record: MongoDocument, places: int) -> Filling:
    """Return the resource of which the smallest part is free."""
    return min(fillings(record, places), key=lambda filling: filling.free_share)


def is_within(record: MongoDocument, places: int) -> bool:
    """Whether so many databases of tenants are within the cluster's limits."""
    return all(filling.fits for filling in fillings(record, places))
