"""Adding clusters, changing them, and taking them out of service, on behalf of an operator."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from multitenant.errors import Conflict, NotFound, ValidationFailed
from multitenant.repositories.admin import clusters, provisionings
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import take_turn
from multitenant.schemas.admin import clusters as schema
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clients import ClientFactory
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.deployments import (
    Deployment,
    Identity,
    check_uri,
    examine,
    explained,
    identify,
)
from multitenant.tenancy.lifecycle.orphans import drop_orphan
from multitenant.tenancy.migrations import TENANT_VERSION
from multitenant.tenancy.routing.connection_manager import URI_FIELD, ConnectionManager

T = TypeVar("T")

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
TURN = "clusters"
"""Whoever adds a cluster, or gives one another URI, takes turns: each compares with all others."""
ACTIONS = {"open": "open", "draining": "drain", "closed": "close"}
"""What the audit log calls it."""
FIELDS = {"diskBytes": "disk_bytes"}
"""The schema's names of limits, where they are not those of the record."""


class ClusterAdministration:
    """Changes the records of clusters; every process follows by the change stream."""

    def __init__(
        self,
        connections: ConnectionManager,
        factory: ClientFactory,
        cipher: FieldCipher,
        *,
        budget: int,
        transaction_seconds: float,
    ) -> None:
        """`budget` is how many sockets a process may open to all clusters."""
        self._connections = connections
        self._factory = factory
        self._cipher = cipher
        self._budget = budget
        self._transaction_seconds = transaction_seconds

    def add(self, name: str, uri: str, capacity: dict[str, int], actor: Actor) -> Deployment:
        """Make the deployment behind `uri` a cluster of that name, open for tenants; return what
        was found there. `capacity` has limits by the names of RESOURCES.

        Raises ValidationFailed for a name or URI that cannot be one, AlreadyExists, and Conflict
        when the deployment is a cluster already, or CONNECTION_BUDGET has no room for it.
        """
        if not NAME.fullmatch(name) or name in (DEFAULT_CLUSTER, EXTERNAL_CLUSTER):
            message = (
                "must be 1 to 63 small letters, digits and hyphens, with none at the ends, and not"
                f" {DEFAULT_CLUSTER!r} or {EXTERNAL_CLUSTER!r}"
            )
            raise ValidationFailed(
                f"The name {message}", errors=[{"field": "name", "message": message}]
            )
        found = self._examine(uri)
        if found.identity.is_same(identify(self._connections.admin_client)):
            raise Conflict("The URI leads to the admin database's cluster, which is `default`")
        self._ensure_budget(found)
        now, admin_db = utc_now(), self._connections.admin_db

        def insert() -> None:
            self._ensure_new(found)
            clusters.insert_cluster(
                admin_db,
                name,
                uri=self._encrypt(name, uri),
                state="open",
                capacity=_capacity(capacity),
                identity=_identity(found),
                created_at=now,
                updated_at=now,
            )
            actor.record(admin_db, "cluster.add", None, cluster=name, capacity=capacity)

        self._in_turn(insert)
        return found

    def change(
        self, name: str, actor: Actor, *, uri: str | None = None, capacity: Mapping[str, int | None]
    ) -> None:
        """Give the cluster another URI, which must lead to the same deployment, and other limits
        (None removes one; what is not named stays).

        Raises NotFound, ValidationFailed, and Conflict when the URI leads elsewhere.
        """
        found = self._examine(uri) if uri else None
        if uri and name == DEFAULT_CLUSTER:
            raise Conflict("The URI of the admin database's cluster is ADMIN_DB_URI")
        admin_db = self._connections.admin_db

        def update() -> None:
            record = self.get(name)
            limits = {**(record.get("capacity") or {}), **capacity}
            kept = {limit: value for limit, value in limits.items() if value}
            changes: dict[str, Any] = {"capacity": _capacity(kept)}
            if uri and found:
                if not found.identity.is_same(Identity.of(record)):
                    raise Conflict(
                        f"The URI leads to another deployment than that of {name}; add it under a"
                        " name of its own, and move the tenants"
                    )
                changes["uri"] = self._encrypt(name, uri)
                changes["identity"] = _identity(found)
            clusters.update_cluster(admin_db, name, **changes)
            actor.record(
                admin_db, "cluster.change", None, cluster=name, uri=bool(uri), capacity=kept
            )

        self._in_turn(update)

    def drain(self, name: str, actor: Actor) -> list[MongoDocument]:
        """Let the cluster take no new tenants, and drop the databases that wait there for some;
        return the notes of what is on its way all the same, begun before. May be done again.

        Raises NotFound, and Conflict for a cluster that is closed.
        """
        if self.get(name)["state"] == "closed":
            raise Conflict(f"The cluster {name} is closed: nothing is there")
        self._set_state(name, "draining", actor)
        admin_db = self._connections.admin_db
        while note := provisionings.take_prepared(
            admin_db, name, version=TENANT_VERSION, has_users=False
        ):
            drop_orphan(self._connections, self._cipher, note["_id"], note)
        return clusters.find_notes_under_way(admin_db, name)

    def open(self, name: str, actor: Actor) -> None:
        """Let the cluster take tenants again. Raises NotFound."""
        self.get(name)
        self._set_state(name, "open", actor)

    def get(self, name: str) -> MongoDocument:
        """Return the cluster's record. Raises NotFound."""
        record = clusters.find_cluster(self._connections.admin_db, name)
        if record is None:
            raise NotFound(f"There is no cluster {name!r}")
        return record

    def close(self, name: str, actor: Actor, *, seen: MongoDocument | None = None) -> None:
        """Give up a drained cluster: no process is connected to it any more. Its record stays,
        and open() takes it back into service.

        Raises NotFound, and Conflict while it is not drained, or anything is there, or its record
        is another than `seen`, by which somebody has decided.
        """
        record = self._ensure_empty(name)
        same = seen is None or record["updatedAt"] == seen["updatedAt"]
        if same and record["state"] == "closed":
            return
        if not same or not self._set_state(name, "closed", actor, only=record):
            raise Conflict(f"The cluster {name} was changed meanwhile; look at it again")

    def remove(self, name: str, actor: Actor, *, seen: MongoDocument | None = None) -> None:
        """Forget a drained cluster. Raises as close() does, which it begins with."""
        self.close(name, actor, seen=seen)
        admin_db = self._connections.admin_db

        def delete() -> None:
            if not clusters.delete_cluster(admin_db, name, state="closed"):
                raise Conflict(f"The cluster {name} was changed meanwhile; look at it again")
            actor.record(admin_db, "cluster.remove", None, cluster=name)

        self._transaction(delete)

    def _examine(self, uri: str) -> Deployment:
        check_uri(uri)
        with explained():
            opened = self._factory.open_dedicated(uri)
        try:
            return examine(opened.client)
        finally:
            opened.close()

    def _ensure_new(self, found: Deployment) -> None:
        """Compare with every other cluster there is."""
        for record in clusters.list_clusters(self._connections.admin_db):
            if record["_id"] != DEFAULT_CLUSTER and found.identity.is_same(Identity.of(record)):
                raise Conflict(f"The URI leads to the cluster {record['_id']}, which is there")

    def _ensure_budget(self, found: Deployment) -> None:
        opened = {name: client.limit for name, client in self._connections.cluster_clients()}
        others = sum(
            opened.get(one["_id"]) or self._factory.shared_limit(len(Identity.of(one).members))
            for one in clusters.list_clusters(self._connections.admin_db)
            if one["state"] != "closed"
        )
        needed = others + self._factory.shared_limit(len(found.identity.members))
        if needed > self._budget:
            raise Conflict(
                f"CONNECTION_BUDGET is {self._budget} sockets for each process; with this cluster"
                f" the clients of all would need {needed}. Raise it, or lower MAX_POOL_SIZE"
            )

    def _ensure_empty(self, name: str) -> MongoDocument:
        """Return the record of a cluster that takes no tenants and has none. What it has now, it
        has for good, for whoever notes a place there looks at the state afterwards."""
        admin_db = self._connections.admin_db
        record = self.get(name)
        if name == DEFAULT_CLUSTER:
            raise Conflict("The admin database is on the cluster default, which stays")
        if record["state"] == "open":
            raise Conflict(f"The cluster {name} is open; drain it first")
        # At one moment: a note that becomes a tenant in between would be missed.
        tenants, notes = self._transaction(
            lambda: (
                clusters.count_tenants(admin_db).get(name, 0),
                clusters.count_notes(admin_db, name),
            )
        )
        if tenants:
            raise Conflict(
                f"{tenants} tenants are on the cluster {name}, deleted ones included: move or purge"
                " them"
            )
        if notes:
            raise Conflict(
                f"{notes} databases on the cluster {name} are left over from purged tenants, or"
                " from some that were being made: `multitenant tenants gc` removes them when they"
                " are old enough"
            )
        return record

    def _set_state(
        self, name: str, state: str, actor: Actor, *, only: MongoDocument | None = None
    ) -> bool:
        """Write state and audit log, unless the cluster is in that state; with `only`, just if its
        record is still that. Return whether it is in the state now."""
        admin_db = self._connections.admin_db

        def write() -> bool:
            if self.get(name)["state"] == state:
                return True
            if not clusters.set_state(admin_db, name, state, only=only):
                return False
            actor.record(admin_db, f"cluster.{ACTIONS[state]}", None, cluster=name)
            return True

        return self._transaction(write)

    def _encrypt(self, name: str, uri: str) -> dict[str, str]:
        return self._cipher.encrypt(uri, record_id=name, field=URI_FIELD)

    def _in_turn(self, work: Callable[[], None]) -> None:
        def taken() -> None:
            take_turn(self._connections.admin_db, TURN)
            work()

        self._transaction(taken)

    def _transaction(self, work: Callable[[], T]) -> T:
        client = self._connections.admin_client
        return run_transaction(client, work, seconds=self._transaction_seconds)


def _capacity(limits: dict[str, int]) -> schema.Capacity | None:
    if not limits:
        return None
    return schema.Capacity(**{FIELDS.get(name, name): limit for name, limit in limits.items()})


def _identity(found: Deployment) -> schema.Identity:
    return schema.Identity(id=found.identity.id, members=list(found.identity.members))
