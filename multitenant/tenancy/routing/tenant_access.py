"""A person's way into one tenant's database, and into no other."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo.errors import PyMongoError

from multitenant.errors import Conflict
from multitenant.repositories.admin.tenants import find_tenant
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import Role, create_user, drop_user
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.identity import ensure_own_database
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.tenant import Tenant

logger = logging.getLogger(__name__)

ACTION = "tenant.shell"


class TenantAccess:
    """Opens one tenant's database with rights that end at it, because MongoDB says so."""

    def __init__(self, connections: ConnectionManager, cipher: FieldCipher) -> None:
        self._connections = connections
        self._cipher = cipher

    @contextmanager
    def opened(
        self, record: MongoDocument, actor: Actor, *, role: Role, through: str
    ) -> Iterator[MongoDatabase]:
        """Yield the tenant's database, as a MongoDB user who has `role` there and nothing
        elsewhere, and who exists as long as the block; what a killed process leaves of them,
        `multitenant tenants gc` drops. The audit log has it, with what the person came `through`.

        On a server of the tenant's own it is the user of its `dbUri`. Raises DatabaseLost where the
        database is not the tenant's (see identity.py), Conflict when the platform may not make
        users, or cannot give this role there, and when the tenant has another database than in
        `record` by then, or a command is about to give it one.
        """
        details: dict[str, Any] = {"role": role, "through": through}
        if record["cluster"] == EXTERNAL_CLUSTER:
            if role != "readWrite":
                raise Conflict(
                    "The tenant is on a server of its own, where the platform makes no users:"
                    " it can only be opened with the rights that its dbUri has"
                )
            uri = decrypt_uri(self._cipher, record["dbUri"], record["_id"])
            with (
                widened_scope(record["dbName"]),
                self._connections.operator_client(EXTERNAL_CLUSTER, uri) as client,
            ):
                db = client[record["dbName"]]
                ensure_own_database(self._connections.admin_db, db, record["_id"])
                self._record(actor, record, details)
                yield db
            return
        cluster, name = record["cluster"], record["dbName"]
        with (
            widened_scope(name),
            self._connections.operator_client(cluster, None) as operator,
        ):
            db = operator[name]
            ensure_own_database(self._connections.admin_db, db, record["_id"])
            user = create_user(db, role)
            try:
                self._record(actor, record, {**details, "databaseUser": user.name})
                with self._connections.user_client(cluster, name, user) as client:
                    client[name].command("ping")  # from here on MongoDB knows that it is in use
                    self._ensure_stays(record)
                    yield client[name]
            finally:
                _drop(db, user.name)

    def _ensure_stays(self, record: MongoDocument) -> None:
        """Return if the tenant is not about to get another database. Whoever gives it one begins a
        maintenance, and looks for shells then."""
        current = find_tenant(self._connections.admin_db, record["_id"])
        if current is None or any(current[it] != record[it] for it in ("cluster", "dbName")):
            raise Conflict("The tenant has another database by now; look at it again")
        held = current["status"] == "maintenance" and "maintenanceHolder" in current
        if held and not Tenant.of(current).has_expired_maintenance:
            raise Conflict("The tenant is in maintenance: wait until that is over")

    def _record(self, actor: Actor, record: MongoDocument, details: dict[str, Any]) -> None:
        actor.record(self._connections.admin_db, ACTION, record["_id"], **details)


def _drop(db: MongoDatabase, name: str) -> None:
    try:
        drop_user(db, name)
    except PyMongoError as error:
        logger.warning(
            "A user of %s is left over (%s); `multitenant tenants gc` drops it",
            db.name,
            type(error).__name__,
        )
