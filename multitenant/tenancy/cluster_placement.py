"""On which cluster a new tenant is placed: where the largest share is free, or where told.

The scarcest resource of a cluster decides how full it is (see cluster_capacity.py). Tenants are
counted in the admin database; choosing costs two small reads of it, and no other.
"""

import random
import time
from typing import Any

from bson import ObjectId

from multitenant.errors import Conflict, ValidationFailed
from multitenant.repositories.admin import clusters, provisionings
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.cluster_capacity import is_within, scarcest
from multitenant.tenancy.connection_manager import ConnectionManager

ATTEMPTS = 5
PAUSE_SECONDS = 0.05
"""Those who have all withdrawn from the last place try again one after another."""


class ClusterPlacement:
    """Finds places for databases of tenants."""

    def __init__(self, connections: ConnectionManager) -> None:
        self._connections = connections

    def candidates(self, told: str | None = None) -> list[str]:
        """Return the open clusters, the one with the largest share of free capacity first, and last
        those that are known not to answer; or the one that was told. That there is room, reserve()
        makes sure of.

        Raises ValidationFailed with `cluster` for one that is not there or not open, and Conflict
        when none is open.
        """
        admin_db = self._connections.admin_db
        if told is not None:
            record = clusters.find_cluster(admin_db, told)
            if record is None:
                raise _refusal("names no cluster of this platform")
            if record["state"] != "open":
                raise _refusal(
                    f"names a cluster that takes no new tenants: it is {record['state']}"
                )
            return [told]
        usable = [one for one in clusters.list_clusters(admin_db) if one["state"] == "open"]
        if not usable:
            raise Conflict("No cluster takes new tenants: add one, or open one again")
        if len(usable) == 1:
            return [usable[0]["_id"]]
        places = clusters.count_all_places(admin_db)

        def rank(record: MongoDocument) -> tuple[bool, float, int]:
            name, count = record["_id"], places.get(record["_id"], 0)
            share = scarcest(record, count).free_share
            return self._connections.is_troubled(name), -share, count

        return [record["_id"] for record in sorted(usable, key=rank)]

    def reserve(self, cluster: str, tenant_id: ObjectId, **note: Any) -> MongoDocument | None:
        """Note a database on the cluster (see ProvisioningDocument), which is its place from now
        on, and return the note; None when the cluster is full or takes no tenants.

        The note is written first, and what it needs is looked at then. So of those who race for
        the last place none is one too many; and whoever stops a cluster from taking tenants, and
        then looks for notes, misses none that will stay (see ADR 18).
        """
        admin_db = self._connections.admin_db
        for attempt in range(ATTEMPTS):
            noted = provisionings.insert_provisioning(admin_db, tenant_id, cluster=cluster, **note)
            if self._is_within(cluster):
                return noted
            provisionings.delete_provisioning(admin_db, tenant_id)
            if not self._is_within(cluster, more=1):
                return None
            time.sleep(random.uniform(0, PAUSE_SECONDS) * (attempt + 1))  # noqa: S311  # no secret
        return None

    def _is_within(self, cluster: str, *, more: int = 0) -> bool:
        """Whether the cluster takes tenants, and what it has, and so many more, fits."""
        record = clusters.find_cluster(self._connections.admin_db, cluster)
        if record is None or record["state"] != "open":
            return False
        if not record.get("capacity"):
            return True
        places = clusters.count_places(self._connections.admin_db, cluster)
        return is_within(record, places + more)


def full(told: str | None) -> Conflict:
    """The error when there is room nowhere."""
    if told is not None:
        return Conflict(f"The cluster {told} is full", incorrect_field="cluster")
    return Conflict("Every cluster that takes new tenants is full: add one, or raise a capacity")


def _refusal(message: str) -> ValidationFailed:
    return ValidationFailed(
        f"cluster {message}",
        incorrect_field="cluster",
        errors=[{"field": "cluster", "message": message}],
    )
