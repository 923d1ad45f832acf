"""How full each cluster is, and when it will be full.

Tenants are counted in the admin database. What one takes is measured on some of them, by whoever
asks for the report, and in the background after tenants were added, once an hour.
"""

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pymongo

from multitenant.errors import DatabaseUnavailable
from multitenant.repositories.admin import clusters, tenants
from multitenant.repositories.admin.locks import acquire_lock, release_lock
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.repositories.usage import database_size
from multitenant.tenancy.background import Background
from multitenant.tenancy.deployments.clients import Client
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.cluster_capacity import Filling, fillings, scarcest
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

SAMPLE = 50
"""So many tenants of a cluster are looked at; where there are no more, the sums are exact."""
PARALLEL = 8
SECONDS = 10.0
"""Looking at them may take so long."""
WINDOW = timedelta(days=30)
"""The tenants that were added in this time tell how fast a cluster fills."""
LEAST_WINDOW = timedelta(days=1)
MAX_DAYS = 3650
MEASURE_AGAIN = timedelta(hours=1)
LOOK_SECONDS = 60.0
LOCK_LASTS = timedelta(minutes=5)
MEASURED = ("collections", "indexes", "bytes", "diskBytes")


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """One cluster: its record, its tenants, what they take, and the forecast."""

    record: MongoDocument
    tenants: int
    """Deleted ones included."""
    places: int
    """Databases of tenants: also those that are being made, or wait for one."""
    per_day: float
    """Tenants that are added in a day, on average."""
    error: str | None
    """Why it could not be measured now; what was measured last counts then."""

    @property
    def measured(self) -> MongoDocument:
        """What was measured last; empty before that."""
        return self.record.get("measured") or {}

    @property
    def data_bytes(self) -> int:
        """The data of all tenants, uncompressed, as far as is known."""
        each: float = self.measured.get("bytes", 0)
        return round(each * self.tenants)

    @property
    def resources(self) -> list[Filling]:
        """How full each resource is."""
        return fillings(self.record, self.places)

    @property
    def limiting(self) -> Filling:
        """The resource that will be used up first or, without limits, of which the smallest part
        is free."""
        limited = [one for one in self.resources if one.free_tenants is not None]
        if not limited:
            return scarcest(self.record, self.places)
        return min(limited, key=lambda one: (one.free_tenants, one.free_share))

    @property
    def free_tenants(self) -> int | None:
        """How many more tenants fit; None without a limit."""
        free = [one.free_tenants for one in self.resources if one.free_tenants is not None]
        return min(free, default=None)

    def full_on(self, now: datetime) -> datetime | None:
        """When there will be room for no more, at the rate of today; None when that is not to be
        expected within ten years, or the cluster takes no tenants."""
        if self.record["state"] != "open":
            return None
        return forecast(self.free_tenants, self.per_day, now)


def forecast(free_tenants: int | None, per_day: float, now: datetime) -> datetime | None:
    """Return when so many places are taken at that rate; None: not within ten years."""
    if free_tenants is None:
        return None
    if free_tenants == 0:
        return now
    if per_day <= 0 or free_tenants / per_day > MAX_DAYS:
        return None
    return now + timedelta(days=free_tenants / per_day)


class ClusterReport:
    """Measures clusters and counts their tenants."""

    def __init__(self, connections: ConnectionManager) -> None:
        self._connections = connections
        self._background = Background("measure", self._measure_old)
        self._looked_at = time.monotonic()

    def measure_soon(self) -> None:
        """Measure in the background those clusters that nobody has measured for MEASURE_AGAIN; a
        process looks for some once in LOOK_SECONDS."""
        if time.monotonic() - self._looked_at > LOOK_SECONDS:
            self._looked_at = time.monotonic()
            self._background.wake()

    def stop(self) -> None:
        """End what goes on in the background."""
        self._background.stop()

    def count(self) -> int:
        """Return how many clusters there are."""
        return len(clusters.list_clusters(self._connections.admin_db))

    def statuses(self) -> Iterator[ClusterStatus]:
        """Go through the clusters by name; each is measured, and what was found is kept in its
        record, for placing tenants by."""
        admin_db = self._connections.admin_db
        now = utc_now()
        oldest = tenants.find_oldest_tenant(admin_db)
        window = min(WINDOW, now - oldest["createdAt"]) if oldest else WINDOW
        days = max(window, LEAST_WINDOW) / timedelta(days=1)
        added = clusters.count_tenants(admin_db, since=now - WINDOW)
        counted = clusters.count_tenants(admin_db)
        records = clusters.list_clusters(admin_db)
        places = clusters.count_places(admin_db, [record["_id"] for record in records])
        for record in records:
            name = record["_id"]
            error = None
            if record["state"] != "closed":
                with contained(f"Cluster {name}: not measured") as failure:
                    record = self._measured(record)
                error = failure.name if failure else None
            yield ClusterStatus(
                record=record,
                tenants=counted.get(name, 0),
                places=places.get(name, 0),
                per_day=added.get(name, 0) / days,
                error=error,
            )

    def _measure_old(self) -> None:
        admin_db = self._connections.admin_db
        before = utc_now() - MEASURE_AGAIN
        for record in clusters.list_clusters(admin_db):
            measured = record.get("measured")
            if record["state"] == "closed" or (measured and measured["at"] > before):
                continue
            lock, holder = f"measuring {record['_id']}", uuid4().hex
            if self._background.stopping or not acquire_lock(
                admin_db, lock, holder=holder, lasts=LOCK_LASTS
            ):
                continue
            with contained(f"Cluster {record['_id']}: not measured"):
                self._measured(record)
                # Else the lock stays: a cluster that is down is not asked by every process in turn.
                release_lock(admin_db, lock, holder=holder)

    def _measured(self, record: MongoDocument) -> MongoDocument:
        """Look at some tenants of the cluster, and return its record with the averages."""
        name, admin_db = record["_id"], self._connections.admin_db
        looked_at = tenants.find_tenants_on_cluster(admin_db, name, sample=SAMPLE)
        with self._connections.operator_client(name) as client:
            client.admin.command("ping")
            with (
                pymongo.timeout(SECONDS),
                ThreadPoolExecutor(PARALLEL, thread_name_prefix="measure") as pool,
            ):
                asked = [
                    pool.submit(copy_context().run, _size, client, tenant["dbName"])
                    for tenant in looked_at
                ]
            sizes = [size for size in (question.result() for question in asked) if size]
        if not looked_at:
            return record
        if not sizes:
            raise DatabaseUnavailable("No database of the cluster tells what it takes")
        measured: dict[str, Any] = {
            what: sum(size[what] for size in sizes) / len(sizes) for what in MEASURED
        }
        measured |= {"at": utc_now(), "tenants": len(sizes)}
        clusters.set_measurement(admin_db, name, measured)
        return {**record, "measured": measured}


def _size(client: Client, db_name: str) -> MongoDocument | None:
    """What one database takes; None where it does not tell."""
    with contained(f"{db_name} was not measured"), widened_scope(db_name):
        return database_size(client[db_name])
    return None
