"""A few databases that are ready before anybody asks for a tenant.

Making collections and indexes is most of the work of adding a tenant. A thread does it ahead, in
one process at a time. Each database is noted like one that is being prepared for a tenant
(`provisionings`), has its place on a cluster like one, and is taken by removing from its note that
it is ready: from then on it is one.
"""

import logging
from datetime import timedelta
from uuid import uuid4

from bson import ObjectId

from multitenant.repositories.admin import provisionings
from multitenant.repositories.admin.locks import acquire_lock, release_lock
from multitenant.repositories.model import MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.background import Background
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.cluster_placement import ClusterPlacement
from multitenant.tenancy.lifecycle.orphans import drop_failed_attempt
from multitenant.tenancy.migrations import TENANT_MIGRATIONS, TENANT_VERSION, migrate
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

LOCK = "preparing databases"
LOCK_LASTS = timedelta(minutes=1)


class PreparedDatabases:
    """The pool of them: PROVISIONING_POOL_SIZE on each open cluster, where there is room."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        placement: ClusterPlacement,
        *,
        size: int,
        db_prefix: str,
    ) -> None:
        """Starts nothing before refill()."""
        self._connections = connections
        self._cipher = cipher
        self._placement = placement
        self._size = size
        self._db_prefix = db_prefix
        self._holder = uuid4().hex
        self._background = Background("prepare", self._fill_all)

    def take(self, cluster: str, *, has_users: bool) -> MongoDocument | None:
        """Return the note of a database there that is the caller's from now on, to make a tenant
        of or to drop; None when none is ready. `has_users` is noted: that it gets a MongoDB
        user."""
        if not self._size:
            return None
        return provisionings.take_prepared(
            self._connections.admin_db, cluster, version=TENANT_VERSION, has_users=has_users
        )

    def refill(self) -> None:
        """See to it that there are enough again; returns at once."""
        if self._size:
            self._background.wake()

    def stop(self) -> None:
        """End the thread, after the database that it is preparing."""
        self._background.stop()

    def _fill_all(self) -> None:
        for cluster in self._placement.candidates():
            self._try_to_fill(cluster)

    def _try_to_fill(self, cluster: str) -> None:
        """A cluster that is down must not keep the others."""
        with contained(f"No databases were prepared on cluster {cluster}"):
            self._fill(cluster)  # else the next tenant is made without, and asks for more

    def _fill(self, cluster: str) -> None:
        admin_db = self._connections.admin_db
        try:
            while not self._background.stopping and acquire_lock(
                admin_db, LOCK, holder=self._holder, lasts=LOCK_LASTS
            ):
                count = provisionings.count_prepared(admin_db, cluster, version=TENANT_VERSION)
                if count >= self._size or not self._prepare(cluster):
                    break
        finally:
            release_lock(admin_db, LOCK, holder=self._holder)

    def _prepare(self, cluster: str) -> bool:
        """Prepare one; return whether there was room for it."""
        tenant_id = ObjectId()
        db_name = f"{self._db_prefix}{tenant_id}"
        with self._connections.operator_client(cluster) as client:
            client.admin.command("ping")  # so that nothing is noted on a cluster that is down
            note = self._placement.reserve(cluster, tenant_id, db_name=db_name)
            if note is None:
                return False
            with widened_scope(db_name):
                migrate(client[db_name], TENANT_MIGRATIONS)
        admin_db = self._connections.admin_db
        if not provisionings.mark_prepared(admin_db, tenant_id, version=TENANT_VERSION):
            # A collection of garbage was faster: what was written after it is nobody's.
            drop_failed_attempt(self._connections, self._cipher, tenant_id, note)
        return True
