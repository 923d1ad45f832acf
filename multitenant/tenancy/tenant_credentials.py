"""Switching a tenant between shared and dedicated, and replacing its MongoDB user, while it works.

The new user is made first. Then one transaction changes the tenant's record, and every process
hears of it and connects anew as soon as it next serves the tenant. The old user is dropped when
MongoDB has no connection of theirs any more: a client stays open for as long as a request leases
it, so no request ever meets a user who is gone. A process that read the record just before, and
connects just after, is refused by MongoDB and reads it again (`TenantCache`).
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.errors import Conflict
from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.database_users import (
    DatabaseUser,
    create_user,
    drop_unused_users,
    drop_user,
    list_made_users,
)
from multitenant.tenancy.isolation import widened_scope
from multitenant.tenancy.transactions import may_be_committed

logger = logging.getLogger(__name__)

RETIRE_SECONDS = 2.0
"""How long one attempt to drop an old user may take."""


class TenantCredentials:
    """Makes and retires the MongoDB users of dedicated tenants."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        *,
        on_retiring: Callable[[], None],
    ) -> None:
        """`on_retiring` is called when retire_unused() will have something to do."""
        self._connections = connections
        self._cipher = cipher
        self._on_retiring = on_retiring
        self._retiring: dict[ObjectId, tuple[MongoDatabase, set[str]]] = {}
        """Users whose last connection this process waits for, by tenant."""
        self._lock = threading.Lock()

    @contextmanager
    def replaced(self, record: MongoDocument, isolation: str) -> Iterator[dict[str, Any]]:
        """Make what `isolation` needs and yield the changes that the tenant's record takes; the
        block must write them. If it raises, what was made is undone; else what the record had
        before is retired.

        Raises Conflict for a tenant on a server of its own, whose users the platform does not
        manage, and when it lacks the rights to make users.
        """
        if record["cluster"] == EXTERNAL_CLUSTER:
            raise Conflict(
                "The tenant is on a server of its own: change the user there, then `dbUri` here"
            )
        db = self._connections.cluster_client(record["cluster"])[record["dbName"]]
        tenant_id = record["_id"]
        with widened_scope(db.name):
            if isolation == "shared":
                yield {"isolation": "shared", "credentials": None}
            else:
                user = create_user(db)
                credentials = user.encrypted(tenant_id, self._cipher)
                try:
                    yield {"isolation": "dedicated", "credentials": credentials}
                except Exception as error:
                    if not may_be_committed(error):
                        drop_user(db, user.name)
                    raise
            if old := record.get("credentials"):
                self._retire(tenant_id, db, DatabaseUser.of(tenant_id, old, self._cipher).name)

    def retire_unused(self) -> None:
        """Drop the users whose last connection is gone. Called about once a second; what a
        process that ends has not dropped, `multitenant tenants gc` drops."""
        for tenant_id, (db, names) in [*self._retiring.items()]:
            try:
                with pymongo.timeout(RETIRE_SECONDS):
                    left = drop_unused_users(db, set(names))
            except PyMongoError as error:
                logger.warning("Old users of %s are still there: %s", db.name, type(error).__name__)
                continue
            with self._lock:
                names -= names - left
                if not names:
                    self._retiring.pop(tenant_id, None)

    def find_leftover_users(self, *, before: datetime) -> Iterator[tuple[MongoDatabase, set[str]]]:
        """Go through the tenant databases that have users, made before that time, whom no
        tenant's record names."""
        client = self._connections.cluster_client(DEFAULT_CLUSTER)
        made = list_made_users(client)
        records = tenants.find_tenants_by_db_names(self._connections.admin_db, [*made])
        for record in records:
            names = {name for name, made_at in made[record["dbName"]].items() if made_at < before}
            if credentials := record.get("credentials"):
                names.discard(DatabaseUser.of(record["_id"], credentials, self._cipher).name)
            if names:
                yield client[record["dbName"]], names

    def _retire(self, tenant_id: ObjectId, db: MongoDatabase, name: str) -> None:
        with self._lock:
            _, names = self._retiring.setdefault(tenant_id, (db, set()))
            names.add(name)
        self._on_retiring()
