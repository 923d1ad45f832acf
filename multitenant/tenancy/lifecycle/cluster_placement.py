"""On which cluster a new tenant is placed: where the largest share is free, or where told.

The scarcest resource of a cluster decides how full it is (see cluster_capacity.py). Tenants are
counted in the admin database, once a minute; in between, each place that is taken is added to the
number. No other database is read.
"""

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from typing import Any
from uuid import uuid4

from bson import ObjectId

from multitenant.errors import Conflict, DatabaseUnavailable, ValidationFailed
from multitenant.repositories.admin import clusters, provisionings
from multitenant.repositories.admin.locks import acquire_lock, release_lock
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.repositories.transactions import in_transaction
from multitenant.tenancy.lifecycle.cluster_capacity import is_within, scarcest
from multitenant.tenancy.routing.connection_manager import ConnectionManager

LOCK_LASTS = timedelta(seconds=5)
LOCK_WAIT_SECONDS = 8.0
"""Longer than the lock of a process that was killed."""
LOCK_POLL_SECONDS = 0.02
COUNTED_FOR = timedelta(minutes=1)
"""How long a number of places holds. Those that are given up are seen after that; so are those that
a tenant takes when it returns to a database that it had before."""


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
        places = self._places([one["_id"] for one in usable])

        def rank(record: MongoDocument) -> tuple[bool, float, int]:
            name, count = record["_id"], places.get(record["_id"], 0)
            share = scarcest(record, count).free_share
            return self._connections.is_troubled(name), -share, count

        return [record["_id"] for record in sorted(usable, key=rank)]

    def reserve(self, cluster: str, note_id: ObjectId, **note: Any) -> MongoDocument | None:
        """Note a database on the cluster (see ProvisioningDocument), which is its place from now
        on, and return the note; None when the cluster is full or takes no tenants.

        The note is written first, and what it needs is looked at then. So a limit is never
        exceeded; and whoever stops a cluster from taking tenants, and then looks for notes, misses
        none that will stay (see ADR 18). Where there are limits, one does it at a time: else those
        who race for the last place would see each other, and all withdraw.
        """
        record = clusters.find_cluster(self._connections.admin_db, cluster)
        if record is None or record["state"] != "open":
            return None
        with self._alone(cluster) if record.get("capacity") else nullcontext():
            return self._note(cluster, note_id, note)

    def _note(self, cluster: str, note_id: ObjectId, note: dict[str, Any]) -> MongoDocument | None:
        admin_db = self._connections.admin_db
        noted = provisionings.insert_provisioning(admin_db, note_id, cluster=cluster, **note)
        places = clusters.add_place(admin_db, cluster)
        record = clusters.find_cluster(admin_db, cluster)
        if record and record["state"] == "open" and self._holds(record, places):
            return noted
        provisionings.delete_provisioning(admin_db, note_id)
        return None

    def _holds(self, record: MongoDocument, places: MongoDocument) -> bool:
        """Whether what is on the cluster is within its limits. Only where `places`, which is how
        many there are at most, are too many, or were counted long ago, they are counted."""
        if not record.get("capacity"):
            return True
        if _counted_lately(places) and is_within(record, places["count"]):
            return True
        name = record["_id"]
        return is_within(record, self._counted([name], {name: places})[name])

    def _places(self, names: list[str]) -> dict[str, int]:
        """How many places each cluster has at most; all are counted when one was not lately."""
        found = clusters.find_places(self._connections.admin_db, names)
        if all(name in found and _counted_lately(found[name]) for name in names):
            return {name: places["count"] for name, places in found.items()}
        return self._counted(names, found)

    def _counted(self, names: list[str], seen: dict[str, MongoDocument]) -> dict[str, int]:
        """Count the places on these clusters, and keep the numbers. Both kinds are counted at one
        moment: a note that becomes a tenant in between would be missed."""
        admin_db = self._connections.admin_db
        places = in_transaction(admin_db, lambda: clusters.count_places(admin_db, names))
        for name in names:
            clusters.set_places(admin_db, name, places[name], seen=seen.get(name))
        return places

    @contextmanager
    def _alone(self, cluster: str) -> Iterator[None]:
        """Wait until nobody else takes a place on the cluster; the lock of a process that was
        killed runs out. Raises DatabaseUnavailable when that takes too long."""
        admin_db, name, holder = self._connections.admin_db, f"placing on {cluster}", uuid4().hex
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while not acquire_lock(admin_db, name, holder=holder, lasts=LOCK_LASTS):
            if time.monotonic() > deadline:
                raise DatabaseUnavailable("Too many tenants are being added; try again")
            time.sleep(random.uniform(0.2, 1) * LOCK_POLL_SECONDS)  # noqa: S311  # no secret
        try:
            yield
        finally:
            release_lock(admin_db, name, holder=holder)


def _counted_lately(places: MongoDocument) -> bool:
    return "at" in places and abs(utc_now() - places["at"]) < COUNTED_FOR


def full(told: str | None) -> Conflict:
    """The error when there is room nowhere."""
    if told is not None:
        return Conflict(f"The cluster {told} is full", incorrect_field="cluster")
    return Conflict("Every cluster that takes new tenants is full: add one, or raise a capacity")


def _refusal(message: str) -> ValidationFailed:
    return ValidationFailed.of_field("cluster", message)
