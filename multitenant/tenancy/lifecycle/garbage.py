"""What is left over: databases without a tenant, MongoDB users without a record, memberships
without a user, maintenance that is over, and tenants that were deleted long enough ago."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from pymongo.errors import PyMongoError

from multitenant.errors import DatabaseUnavailable, DecryptionFailed
from multitenant.repositories.admin import clusters, provisionings, tenants
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import drop_unused_users
from multitenant.tenancy.lifecycle.lost_memberships import (
    LostMemberships,
    find_lost_memberships,
    find_tenants_elsewhere,
    remove_lost_memberships,
)
from multitenant.tenancy.lifecycle.orphans import MIN_AGE, drop_orphan, find_orphans
from multitenant.tenancy.lifecycle.tenant_credentials import LeftoverUsers, TenantCredentials
from multitenant.tenancy.lifecycle.tenant_lifecycle import TenantLifecycle
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing to remove."""

    kind: str
    """`database`, `replaced database`, `tenant`, `database users`, `memberships` or
    `maintenance`."""
    name: str
    since: datetime | None
    remove: Callable[[], bool]
    """Removes it; returns False where it turns out to be in use."""


class GarbageCollector:
    """Finds what is left over. Nothing is removed before somebody says so."""

    def __init__(
        self,
        connections: ConnectionManager,
        credentials: TenantCredentials,
        lifecycle: TenantLifecycle,
        cipher: FieldCipher,
        *,
        purge_after: timedelta,
        keep_prepared: int,
    ) -> None:
        """Tenants that were deleted longer than `purge_after` ago are to be purged, databases that
        were replaced longer ago to be dropped, and all prepared ones but `keep_prepared`."""
        self._connections = connections
        self._credentials = credentials
        self._lifecycle = lifecycle
        self._cipher = cipher
        self._purge_after = purge_after
        self._keep_prepared = keep_prepared

    def find(self, actor: Actor, *, older_than: timedelta) -> Iterator[Garbage]:
        """Go through what is left over; databases and users that are younger than `older_than`
        (at least MIN_AGE counts) may belong to tenants in the making."""
        admin_db = self._connections.admin_db
        for note in find_orphans(
            admin_db, older_than=older_than, keep_prepared=self._keep_prepared
        ):
            drop = partial(drop_orphan, self._connections, self._cipher, note["_id"], note)
            yield Garbage("database", note["dbName"], note["startedAt"], drop)
        long_ago = utc_now() - self._purge_after
        for note in provisionings.list_kept(admin_db, before=long_ago):
            drop = partial(drop_orphan, self._connections, self._cipher, note["_id"], note)
            yield Garbage("replaced database", note["dbName"], note["startedAt"], drop)
        for record in tenants.find_tenants_deleted_before(admin_db, long_ago):
            purge = partial(self._purge, record, actor)
            yield Garbage("tenant", record["name"], record["deletedAt"], purge)
        before = utc_now() - max(older_than, MIN_AGE)
        for cluster in clusters.list_clusters(admin_db):
            for left in self._find_users(cluster, before):
                drop_users = partial(self._drop_users, left)
                name = f"{len(left.names)} of {left.db_name}"
                yield Garbage("database users", name, None, drop_users)
        for record in find_tenants_elsewhere(self._connections):
            for lost in self._find_memberships(record, before):
                remove = partial(
                    remove_lost_memberships, self._connections, self._cipher, lost, actor
                )
                yield Garbage("memberships", f"{len(lost.ids)} of {record['name']}", None, remove)
        for record in tenants.find_tenants_in_maintenance(admin_db):
            until = record.get("maintenanceUntil")
            if until and until < utc_now():
                end = partial(self._end_maintenance, record)
                yield Garbage("maintenance", record["name"], until, end)

    def _find_users(self, cluster: MongoDocument, before: datetime) -> list[LeftoverUsers]:
        """Those of one cluster, which may be down: that must not keep the others."""
        if cluster["state"] == "closed":
            return []
        try:
            return list(self._credentials.find_leftover_users(cluster["_id"], before=before))
        except (PyMongoError, DatabaseUnavailable, DecryptionFailed) as error:
            why = type(error).__name__
            logger.warning("Cluster %s: its users were not looked at: %s", cluster["_id"], why)
            return []

    def _find_memberships(self, record: MongoDocument, before: datetime) -> list[LostMemberships]:
        """Those of one tenant, whose server may be down likewise."""
        try:
            return list(
                find_lost_memberships(self._connections, self._cipher, record, before=before)
            )
        except (PyMongoError, DatabaseUnavailable, DecryptionFailed) as error:
            why = type(error).__name__
            logger.warning("Tenant %s: its users were not looked at: %s", record["_id"], why)
            return []

    def _end_maintenance(self, record: MongoDocument) -> bool:
        """The tenant works already: now it is shown so, too."""
        ended = tenants.end_expired_maintenance(self._connections.admin_db, record)
        self._connections.forget(record["_id"])
        return ended is not None

    def _purge(self, record: MongoDocument, actor: Actor) -> bool:
        gone = self._lifecycle.purge(record["_id"], record["name"], actor, seen=record)
        return all(gone.values())

    def _drop_users(self, left: LeftoverUsers) -> bool:
        """Those that still nobody needs: a record may name one by now."""
        names = self._credentials.find_still_unnamed(left)
        with self._connections.operator_client(left.cluster) as client:
            return not drop_unused_users(client[left.db_name], names)
