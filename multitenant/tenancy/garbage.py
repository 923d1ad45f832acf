"""What is left over: databases without a tenant, MongoDB users without a record, and tenants that
were deleted long enough ago."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from multitenant.repositories.admin import provisionings, tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.database_users import drop_unused_users
from multitenant.tenancy.orphans import MIN_AGE, drop_orphan, find_orphans
from multitenant.tenancy.tenant_credentials import TenantCredentials
from multitenant.tenancy.tenant_lifecycle import TenantLifecycle


@dataclass(frozen=True, slots=True)
class Garbage:
    """One thing to remove."""

    kind: str
    """`database`, `replaced database`, `tenant` or `database users`."""
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
        for db, names in self._credentials.find_leftover_users(before=before):
            drop_users = partial(self._drop_users, db, names)
            yield Garbage("database users", f"{len(names)} of {db.name}", None, drop_users)

    def _purge(self, record: MongoDocument, actor: Actor) -> bool:
        return all(self._lifecycle.purge(record["_id"], record["name"], actor).values())

    def _drop_users(self, db: MongoDatabase, names: set[str]) -> bool:
        return not drop_unused_users(db, names)
