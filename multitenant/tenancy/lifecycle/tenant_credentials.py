"""Switching a tenant between shared and dedicated, and replacing its MongoDB user, while it works.

The new user is made first. Then one transaction changes the tenant's record, and every process
hears of it and connects anew as soon as it next serves the tenant. The old user is dropped when
MongoDB has no connection of theirs any more: a client stays open for as long as a request leases
it, so no request ever meets a user who is gone. A process that read the record just before, and
connects just after, is refused by MongoDB and reads it again (`TenantCache`).
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pymongo

from multitenant.errors import Conflict
from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.repositories.transactions import may_be_committed
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import (
    DatabaseUser,
    connected_users,
    create_user,
    drop_user,
    list_made_users,
)
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import contained
from multitenant.tenancy.identity import ensure_own_database
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

RETIRE_SECONDS = 2.0
"""How long one attempt to drop an old user may take."""

RETIRE_AGAIN_SECONDS = 10.0
"""After an attempt that failed: the next must not keep the thread from its other work."""

COMMIT_WITHIN = timedelta(minutes=5)
"""After a user was made: `tenants gc` drops those of a quarter of an hour whom no record names."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """New credentials, or none, for a tenant."""

    changes: dict[str, Any]
    """Those that the tenant's record takes."""
    ensure_recent: Callable[[], None]
    """To be called in the transaction that writes them. Raises Conflict when so much time has
    passed that the new user may have been dropped."""


@dataclass(frozen=True, slots=True)
class LeftoverUsers:
    """Users of a tenant's database whom nobody needs."""

    cluster: str
    db_name: str
    names: set[str]


@dataclass(slots=True, eq=False)
class _Retiring:
    """A user whose last connection this process waits for."""

    cluster: str
    db_name: str
    name: str
    settled_at: float
    seen_gone: bool = False


class TenantCredentials:
    """Makes and retires the MongoDB users of dedicated tenants."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        *,
        on_retiring: Callable[[], None],
        settle_seconds: float,
    ) -> None:
        """`on_retiring` is called when retire_unused() will have something to do. After
        `settle_seconds` nobody connects any more with credentials read before a change."""
        self._connections = connections
        self._cipher = cipher
        self._on_retiring = on_retiring
        self._settle_seconds = settle_seconds
        self._retiring: list[_Retiring] = []

    @contextmanager
    def replaced(self, record: MongoDocument, isolation: str) -> Iterator[Replacement]:
        """Make what `isolation` needs and yield it; the block must write its changes. If it raises,
        what was made is undone; else what the record had before is retired.

        Raises Conflict for a tenant on a server of its own, whose users the platform does not
        manage, and when it lacks the rights to make users; DatabaseLost where the database is not
        the tenant's.
        """
        if record["cluster"] == EXTERNAL_CLUSTER:
            raise Conflict(
                "The tenant is on a server of its own: change the user there, then `dbUri` here"
            )
        tenant_id = record["_id"]
        with (
            self._connections.operator_client(record["cluster"]) as client,
            widened_scope(record["dbName"]),
        ):
            db = client[record["dbName"]]
            if isolation == "shared":
                changes: dict[str, Any] = {"isolation": "shared", "credentials": None}
                yield Replacement(changes, lambda: None)
            else:
                ensure_own_database(self._connections.admin_db, db, tenant_id)
                made_at = utc_now()
                user = create_user(db)
                credentials = user.encrypted(tenant_id, self._cipher)

                def ensure_recent() -> None:
                    if utc_now() - made_at > COMMIT_WITHIN:
                        raise Conflict("This took so long that it is out of date; try again")

                try:
                    changes = {"isolation": "dedicated", "credentials": credentials}
                    yield Replacement(changes, ensure_recent)
                except Exception as error:
                    if not may_be_committed(error):
                        drop_user(db, user.name)
                    raise
            if old := record.get("credentials"):
                # Of credentials that nobody can read any more, `tenants gc` drops the user.
                with contained(f"The old user of {record['dbName']} is left over"):
                    self._retire(record, DatabaseUser.of(tenant_id, old, self._cipher).name)

    def retire_unused(self) -> None:
        """Drop the users whose last connection is gone. Called about twice a second; what a
        process that ends has not dropped, `multitenant tenants gc` drops."""
        for retiring in [*self._retiring]:
            if time.monotonic() < retiring.settled_at:
                continue
            with (
                contained(f"An old user of {retiring.db_name} is still there") as failure,
                pymongo.timeout(RETIRE_SECONDS),
            ):
                self._retire_one(retiring)
            if failure:
                retiring.settled_at = time.monotonic() + RETIRE_AGAIN_SECONDS

    def _retire_one(self, retiring: "_Retiring") -> None:
        """Drop the user once nobody was connected twice in a row: a pool may be between two
        connections when it is looked at."""
        with self._connections.operator_client(retiring.cluster) as client:
            db = client[retiring.db_name]
            if retiring.name in connected_users(db):
                retiring.seen_gone = False
            elif not retiring.seen_gone:
                retiring.seen_gone = True
            else:
                drop_user(db, retiring.name)
                self._retiring.remove(retiring)

    def find_leftover_users(self, cluster: str, *, before: datetime) -> Iterator[LeftoverUsers]:
        """Go through the tenant databases of the cluster that have users, made before that time,
        whom no tenant's record names. Raises PyMongo's errors."""
        with self._connections.operator_client(cluster) as client:
            made = list_made_users(client)
        admin_db = self._connections.admin_db
        for record in tenants.find_tenants_by_db_names(admin_db, cluster, [*made]):
            names: set[str] = set()
            with contained(f"The users of {record['dbName']} are left alone"):
                spared = self._named_user(record)
                users = made[record["dbName"]].items()
                names = {name for name, made_at in users if made_at < before} - spared
            if names:
                yield LeftoverUsers(cluster, record["dbName"], names)

    def find_still_unnamed(self, left: LeftoverUsers) -> set[str]:
        """Return those of the users whom no tenant's record names by now. Raises
        DecryptionFailed."""
        admin_db = self._connections.admin_db
        records = tenants.find_tenants_by_db_names(admin_db, left.cluster, [left.db_name])
        return left.names.difference(*map(self._named_user, records))

    def _named_user(self, record: MongoDocument) -> set[str]:
        """The name of the user that the record names, if it does."""
        credentials = record.get("credentials")
        if not credentials:
            return set()
        return {DatabaseUser.of(record["_id"], credentials, self._cipher).name}

    def _retire(self, record: MongoDocument, name: str) -> None:
        settled_at = time.monotonic() + self._settle_seconds
        self._retiring.append(_Retiring(record["cluster"], record["dbName"], name, settled_at))
        self._on_retiring()
