"""What is left over: databases without a tenant, MongoDB users without a record, memberships
without a user, maintenance that is over, and tenants that were deleted long enough ago."""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from multitenant.repositories.admin import clusters, provisionings, tenants
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import drop_unused_users
from multitenant.tenancy.failures import contained
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
        (at least MIN_AGE counts) may belong to tenants in the making. What cannot be looked at
        is logged, and the rest is gone through."""
        admin_db = self._connections.admin_db
        long_ago = utc_now() - self._purge_after
        orphans = find_orphans(admin_db, older_than=older_than, keep_prepared=self._keep_prepared)
        kept = provisionings.list_kept(admin_db, before=long_ago)
        for kind, notes in (("database", orphans), ("replaced database", kept)):
            for note in notes:
                with contained(f"The provisioning record {note['_id']} is damaged"):
                    drop = partial(drop_orphan, self._connections, self._cipher, note["_id"], note)
                    yield Garbage(kind, str(note["dbName"]), note["startedAt"], drop)
        for record in tenants.find_tenants_deleted_before(admin_db, long_ago):
            purge = partial(self._purge, record, actor)
            yield Garbage("tenant", record["name"], record.get("deletedAt"), purge)
        before = utc_now() - max(older_than, MIN_AGE)
        for cluster in clusters.list_clusters(admin_db):
            lefts: list[LeftoverUsers] = []
            with contained(f"Cluster {cluster['_id']}: its users were not looked at"):
                lefts = self._find_users(cluster, before)
            for left in lefts:
                drop_users = partial(self._drop_users, left)
                name = f"{len(left.names)} of {left.db_name}"
                yield Garbage("database users", name, None, drop_users)
        for record in find_tenants_elsewhere(self._connections):
            losts: list[LostMemberships] = []
            with contained(f"Tenant {record['_id']}: its users were not looked at"):
                losts = self._find_memberships(record, before)
            for lost in losts:
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
        if cluster["state"] == "closed":
            return []
        return list(self._credentials.find_leftover_users(cluster["_id"], before=before))

    def _find_memberships(self, record: MongoDocument, before: datetime) -> list[LostMemberships]:
        return list(find_lost_memberships(self._connections, self._cipher, record, before=before))

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
