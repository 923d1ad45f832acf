"""A new database for a copy of a tenant's data, until a tenant's record names it.

It is noted in the admin database before it is there, as every database on its way
(`provisionings`), and marked in itself as one that is being filled: so users in it do not prove
that it is a tenant's. What a killed process leaves, `multitenant tenants gc` drops.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pymongo
from bson import ObjectId

from multitenant.errors import BackupError, Conflict
from multitenant.repositories.admin import provisionings
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.transactions import may_be_committed
from multitenant.security.field_encryption import EncryptedField, FieldCipher
from multitenant.tenancy.contents.copying import MAX_SECONDS
from multitenant.tenancy.contents.platform_marks import mark_as_copy, unmark
from multitenant.tenancy.contents.raw_documents import STEP_SECONDS
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import create_user
from multitenant.tenancy.deployments.external import check_uri, claim, encrypt_uri, ensure_usable
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.cluster_placement import ClusterPlacement, full
from multitenant.tenancy.lifecycle.orphans import drop_failed_attempt
from multitenant.tenancy.lifecycle.tenant_locks import renewing
from multitenant.tenancy.migrations import TENANT_MIGRATIONS, migrate, unknown_migrations
from multitenant.tenancy.routing.connection_manager import ConnectionManager

NOTE_SECONDS = 60.0
"""How often the note is renewed; `tenants gc` leaves those of a quarter of an hour alone."""


@dataclass(frozen=True, slots=True)
class Home:
    """Where a tenant's database is and how it is reached: what its record will say."""

    note_id: ObjectId
    """Under which the database is noted, until the record says it."""
    db_name: str
    cluster: str
    isolation: str
    db_uri: EncryptedField | None = None
    """Encrypted for the tenant."""
    credentials: EncryptedField | None = None
    """The same."""


@dataclass(frozen=True, slots=True)
class FreshDatabase:
    """A database to fill, and the home that it makes."""

    db: MongoDatabase
    home: Home


class FreshDatabases:
    """Makes databases on the platform's clusters, and takes empty ones elsewhere."""

    def __init__(
        self,
        connections: ConnectionManager,
        cipher: FieldCipher,
        placement: ClusterPlacement,
        *,
        db_prefix: str,
        allowed_hosts: Sequence[str],
    ) -> None:
        """`allowed_hosts` are those that a URI may lead to."""
        self._connections = connections
        self._cipher = cipher
        self._placement = placement
        self._db_prefix = db_prefix
        self._allowed_hosts = allowed_hosts

    @contextmanager
    def prepared(
        self,
        tenant_id: ObjectId,
        *,
        isolation: str,
        uri: str | None,
        exists: bool,
        told: str | None = None,
        stays_on: str | None = None,
        leaves: str | None = None,
    ) -> Iterator[FreshDatabase]:
        """Yield an empty database for the tenant, which `exists` or not. The block fills it and
        switches the tenant's record; if it raises, the database is dropped, unless the switch may
        have happened.

        With `uri` it is the one on a server of its own. Otherwise it takes a place on a cluster, as
        one for a new tenant does: the one that was `told`, or where there is most room; not on the
        one that the tenant `leaves`. One that `stays_on` its cluster has its place there.

        Raises ValidationFailed for a URI that is not taken, and for a cluster that takes no
        tenants; Conflict where there is no room, and AlreadyExists where the database behind the
        URI belongs to a tenant.
        """
        note_id = ObjectId() if exists else tenant_id
        db_name = (uri and check_uri(uri, self._allowed_hosts)) or f"{self._db_prefix}{note_id}"
        fields: dict[str, Any] = {
            "tenant_id": tenant_id if exists else None,
            "db_name": db_name,
            "has_users": isolation == "dedicated" and not uri,
        }
        note = None
        if not uri and stays_on is None:
            note = self._place(note_id, fields, told, leaves)
        cluster = EXTERNAL_CLUSTER if uri else note["cluster"] if note else stays_on
        assert cluster is not None
        with (
            self._connections.operator_client(cluster, uri) as client,
            widened_scope(db_name),
            pymongo.timeout(MAX_SECONDS),
        ):
            db = client[db_name]
            if uri:
                ensure_usable(db, self._allowed_hosts)
            if note is None:
                db_uri = encrypt_uri(self._cipher, uri, note_id) if uri else None
                note = provisionings.insert_provisioning(
                    self._connections.admin_db, note_id, cluster=cluster, db_uri=db_uri, **fields
                )
            try:
                with renewing(lambda: self._touch(note_id), NOTE_SECONDS):
                    if uri:
                        copy_id = note_id if exists else None
                        admin_db_name = self._connections.admin_db.name
                        claim(db, tenant_id, admin_db_name, copy_id=copy_id)
                    mark_as_copy(db, note_id)
                    yield FreshDatabase(db, self._home(tenant_id, db, note, uri))
            except BaseException as error:
                if not may_be_committed(error):
                    self._discard(note)
                raise
            # It does no harm where the note is gone.
            with contained(f"{db_name} still has the mark of a copy"):
                unmark(db, note_id)

    def _place(
        self, note_id: ObjectId, fields: dict[str, Any], told: str | None, leaves: str | None
    ) -> MongoDocument:
        for cluster in self._placement.candidates(told):
            if cluster != leaves and (note := self._placement.reserve(cluster, note_id, **fields)):
                return note
        raise full(told)

    def _touch(self, note_id: ObjectId) -> None:
        provisionings.touch_provisioning(self._connections.admin_db, note_id)

    def _home(
        self, tenant_id: ObjectId, db: MongoDatabase, note: MongoDocument, uri: str | None
    ) -> Home:
        credentials = None
        if note["hasUsers"]:
            credentials = create_user(db).encrypted(tenant_id, self._cipher)
        return Home(
            note["_id"],
            db.name,
            note["cluster"],
            "dedicated" if uri or credentials else "shared",
            encrypt_uri(self._cipher, uri, tenant_id) if uri else None,
            credentials,
        )

    def _discard(self, note: MongoDocument) -> None:
        left = f"{note['dbName']} is left over; `multitenant tenants gc` drops it"
        with contained(left), pymongo.timeout(STEP_SECONDS):  # the server may be down
            drop_failed_attempt(self._connections, self._cipher, note["_id"], note)


def bring_up_to_date(db: MongoDatabase) -> int:
    """Run the migrations that a filled database has not had; return its version. Raises
    BackupError where it comes from a later release."""
    ensure_known_migrations(db)
    return migrate(db, TENANT_MIGRATIONS)


def ensure_known_migrations(db: MongoDatabase) -> None:
    """Return if the database has had no migration that this release does not know. Raises
    BackupError."""
    if unknown := unknown_migrations(db, TENANT_MIGRATIONS):
        raise BackupError(
            f"It has had migrations that this release does not know ({unknown}): use the release"
            " that it comes from, or a later one"
        )


def take_note_away(admin_db: MongoDatabase, note_id: ObjectId) -> None:
    """Remove the note of a database that becomes a tenant's, in that transaction. Raises Conflict
    when somebody has claimed it for dropping."""
    if not provisionings.delete_unclaimed_provisioning(admin_db, note_id):
        raise Conflict("The database is being dropped (by `tenants gc`); try again")
