"""Making a tenant: it exists entirely, or not at all.

The database is prepared first, under a name nobody has used: collections, indexes, migrations (or
one is taken that was prepared ahead, see prepared_databases.py).
Then one transaction inserts the tenant's record, its membership and its first user. Until that
commits there is no tenant; what was prepared is dropped at once, or by `multitenant tenants gc`
when the process did not live to do it. On a server of the tenant's own the first user is written
before that transaction, which no other deployment can take part in.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.errors import AlreadyExists, DatabaseUnavailable, ValidationFailed
from multitenant.repositories.admin import idempotency_keys, provisionings, tenant_users, tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.tenant import users
from multitenant.repositories.transactions import may_be_committed, run_transaction
from multitenant.schemas.admin.tenants import NewTenant
from multitenant.security.field_encryption import FieldCipher
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Tokens
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import create_user
from multitenant.tenancy.deployments.external import check_uri, claim, encrypt_uri, ensure_usable
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted
from multitenant.tenancy.failures import contained
from multitenant.tenancy.identity import write_identity
from multitenant.tenancy.lifecycle.cluster_placement import ClusterPlacement, full
from multitenant.tenancy.lifecycle.orphans import drop_failed_attempt
from multitenant.tenancy.lifecycle.prepared_databases import PreparedDatabases
from multitenant.tenancy.migrations import TENANT_MIGRATIONS, migrate
from multitenant.tenancy.routing.cluster_concurrency import is_unreachable
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

IDEMPOTENCY_HOURS = 24


@dataclass(frozen=True, slots=True)
class ProvisionedTenant:
    """The answer to `POST /add`."""

    tenant_id: ObjectId
    user_id: ObjectId
    invitation_token: str | None


@dataclass(frozen=True, slots=True)
class _Plan:
    """One attempt: everything decided before anything is written."""

    new: NewTenant
    tenant_id: ObjectId
    user_id: ObjectId
    made_at: datetime
    db_name: str
    cluster: str
    isolation: str
    db_uri: str | None
    password: str | None
    invitation_id: str | None
    system: bool
    idempotency_key: str | None
    actor: Actor | None
    note: MongoDocument | None
    """That of the database, where it has its place already."""


class Provisioner:
    """Makes tenants on the platform's clusters, and on servers of their own."""

    def __init__(
        self,
        connections: ConnectionManager,
        hasher: PasswordHasher,
        tokens: Tokens,
        cipher: FieldCipher,
        placement: ClusterPlacement,
        prepared: PreparedDatabases,
        *,
        on_added: Callable[[], None],
        db_prefix: str,
        allowed_hosts: Sequence[str],
        transaction_seconds: float,
    ) -> None:
        """`on_added` is called after a tenant was added; `allowed_hosts` are those that a `dbUri`
        may lead to."""
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._cipher = cipher
        self._placement = placement
        self._prepared = prepared
        self._on_added = on_added
        self._db_prefix = db_prefix
        self._allowed_hosts = allowed_hosts
        self._transaction_seconds = transaction_seconds

    def provision(
        self,
        new: NewTenant,
        *,
        idempotency_key: str | None = None,
        actor: Actor | None = None,
        system: bool = False,
    ) -> ProvisionedTenant:
        """Make the tenant with its first user, who owns it; `actor` is who asked for it.

        With the `idempotency_key` of an earlier call the first result is answered again. Raises
        AlreadyExists with the field that is taken, and ValidationFailed when the key was used
        for another request, `cluster` names none that takes tenants, or `db_uri` leads to no
        database that can be the tenant's; Conflict when there is room on no cluster, or not on
        the one that was named.
        """
        if idempotency_key and (first := self._first_result(new, idempotency_key)):
            return first
        try:
            ensure_free(self._connections.admin_db, new.name, new.subdomain)
            plan = self._plan(new, idempotency_key, actor, system=system)
            with widened_scope(plan.db_name):
                self._make(plan)
        except AlreadyExists:
            # Whoever was faster may have been this very request, sent again.
            if idempotency_key and (first := self._first_result(new, idempotency_key)):
                return first
            raise
        finally:
            if not system:
                self._prepared.refill()
        if not system:
            self._on_added()
        logger.info("Provisioned tenant %s", plan.tenant_id)
        return self._result(plan.tenant_id, plan.user_id, plan.invitation_id, plan.made_at)

    def _plan(
        self, new: NewTenant, idempotency_key: str | None, actor: Actor | None, *, system: bool
    ) -> _Plan:
        """Decide everything, and hash the password, which is slow, before anything is written."""
        db_uri = new.db_uri.get_secret_value() if new.db_uri else None
        db_name = check_uri(db_uri, self._allowed_hosts) if db_uri else None
        password = new.password.get_secret_value() if new.password else None
        hashed = self._hasher.hash(password) if password else None
        ensure_write_permitted()
        note = None if db_uri or system else self._place(new)
        tenant_id = note["_id"] if note else ObjectId()
        return _Plan(
            new=new,
            tenant_id=tenant_id,
            user_id=ObjectId(),
            made_at=utc_now(),
            db_name=db_name or f"{self._db_prefix}{tenant_id}",
            cluster=EXTERNAL_CLUSTER if db_uri else note["cluster"] if note else DEFAULT_CLUSTER,
            isolation="dedicated" if db_uri else new.isolation or "shared",
            db_uri=db_uri,
            password=hashed,
            invitation_id=None if password else uuid4().hex,
            system=system,
            idempotency_key=idempotency_key,
            actor=actor,
            note=note,
        )

    def _place(self, new: NewTenant) -> MongoDocument:
        """Return the note of a database that has its place on a cluster, and may be ready."""
        has_users = new.isolation == "dedicated"
        for cluster in self._placement.candidates(new.cluster):
            if ready := self._prepared.take(cluster, has_users=has_users):
                return ready
            tenant_id = ObjectId()
            db_name = f"{self._db_prefix}{tenant_id}"
            if note := self._placement.reserve(
                cluster, tenant_id, db_name=db_name, has_users=has_users
            ):
                return note
        raise full(new.cluster)

    def _make(self, plan: _Plan) -> None:
        admin_db = self._connections.admin_db
        encrypted_uri = None
        if plan.db_uri:
            encrypted_uri = encrypt_uri(self._cipher, plan.db_uri, plan.tenant_id)
        with self._connections.operator_client(plan.cluster, plan.db_uri) as client:
            db = client[plan.db_name]
            if plan.db_uri:
                ensure_usable(db, self._allowed_hosts)
            note = plan.note or provisionings.insert_provisioning(
                admin_db,
                plan.tenant_id,
                db_name=plan.db_name,
                cluster=plan.cluster,
                db_uri=encrypted_uri,
                has_users=plan.isolation == "dedicated" and not plan.db_uri,
            )
            try:
                self._prepare_and_commit(plan, db, note)
            except Exception as error:
                if not may_be_committed(error) and not _may_still_arrive(error, plan.cluster):
                    self._discard(plan.tenant_id, note)
                raise

    def _prepare_and_commit(self, plan: _Plan, db: MongoDatabase, note: MongoDocument) -> None:
        credentials = None
        if plan.db_uri:
            claim(db, plan.tenant_id, self._connections.admin_db.name)
        elif note["hasUsers"]:
            credentials = create_user(db).encrypted(plan.tenant_id, self._cipher)
        version = migrate(db, TENANT_MIGRATIONS)
        write_identity(db, plan.tenant_id)
        record = {
            "db_uri": note.get("dbUri"),
            "credentials": credentials,
            "schema_version": version,
        }

        def write_here() -> None:
            self._insert_user(plan, db)
            self._insert_records(plan, record)

        if plan.cluster == DEFAULT_CLUSTER:
            run_transaction(db.client, write_here, seconds=self._transaction_seconds)
            return
        self._insert_user(plan, db)
        run_transaction(
            self._connections.admin_client,
            lambda: self._insert_records(plan, record),
            seconds=self._transaction_seconds,
        )

    def _insert_user(self, plan: _Plan, db: MongoDatabase) -> None:
        users.insert_user(
            db,
            plan.user_id,
            email=plan.new.email,
            role="owner",
            password=plan.password,
            invitation_id=plan.invitation_id,
        )

    def _insert_records(self, plan: _Plan, record: dict[str, Any]) -> None:
        """The writes to the admin database. Once they are committed, the tenant exists."""
        admin_db = self._connections.admin_db
        if not provisionings.delete_unclaimed_provisioning(admin_db, plan.tenant_id):
            raise DatabaseUnavailable("Preparing the tenant took too long; try again")
        if plan.idempotency_key:
            idempotency_keys.insert_idempotency_key(
                admin_db,
                plan.idempotency_key,
                fingerprint=self._fingerprints(plan.new)[0],
                tenant_id=plan.tenant_id,
                user_id=plan.user_id,
                invitation_id=plan.invitation_id,
                invitation_seconds=self._tokens.invitation_seconds,
                made_at=plan.made_at,
                expires_at=plan.made_at + timedelta(hours=IDEMPOTENCY_HOURS),
            )
        tenants.insert_tenant(
            admin_db,
            id=plan.tenant_id,
            name=plan.new.name,
            subdomain=plan.new.subdomain,
            db_name=plan.db_name,
            cluster=plan.cluster,
            isolation=plan.isolation,
            status="active",
            modules=plan.new.modules,
            user_limit=plan.new.user_limit,
            system=plan.system,
            created_at=plan.made_at,
            updated_at=plan.made_at,
            **record,
        )
        if plan.actor:
            plan.actor.record(admin_db, "tenant.add", plan.tenant_id, name=plan.new.name)
        tenant_users.insert_tenant_user(
            admin_db, plan.user_id, email=plan.new.email, tenant_id=plan.tenant_id
        )

    def _discard(self, tenant_id: ObjectId, note: MongoDocument) -> None:
        with contained(f"{note['dbName']} is left over; `multitenant tenants gc` drops it"):
            drop_failed_attempt(self._connections, self._cipher, tenant_id, note)

    def _first_result(self, new: NewTenant, key: str) -> ProvisionedTenant | None:
        """What an earlier request with this key has made; None when there was none."""
        kept = idempotency_keys.find_idempotency_key(self._connections.admin_db, key)
        if kept is None:
            return None
        if kept["fingerprint"] not in self._fingerprints(new):
            message = "was used for another request before"
            raise ValidationFailed.of_field(
                "Idempotency-Key", message, called="This Idempotency-Key"
            )
        return self._result(
            kept["tenantId"],
            kept["userId"],
            kept.get("invitationId"),
            kept["madeAt"],
            kept.get("invitationSeconds"),
        )

    def _result(
        self,
        tenant_id: ObjectId,
        user_id: ObjectId,
        invitation_id: str | None,
        made_at: datetime,
        invitation_seconds: int | None = None,
    ) -> ProvisionedTenant:
        token = None
        if invitation_id:
            token = self._tokens.issue_invitation(
                user_id=user_id,
                tenant_id=tenant_id,
                role="owner",
                invitation_id=invitation_id,
                invited_at=made_at,
                seconds=invitation_seconds,
            )
        return ProvisionedTenant(tenant_id, user_id, token)

    def _fingerprints(self, new: NewTenant) -> list[str]:
        """What tells one request from another, the first to be kept. The password is not part of
        it: a hash of it here could be guessed at. The URI is, under each key."""
        body = new.model_dump(mode="json", exclude={"password", "db_uri"})
        if new.cluster is None:
            del body["cluster"]  # so that a request from before there were clusters is known again
        body["invited"] = new.password is None
        uris = self._cipher.digests(new.db_uri.get_secret_value()) if new.db_uri else [None]
        return [
            hashlib.sha256(json.dumps({**body, "uri": uri}, sort_keys=True).encode()).hexdigest()
            for uri in uris
        ]


def ensure_free(admin_db: MongoDatabase, name: str, subdomain: str | None) -> None:
    """Refuse a name that is taken before anything is prepared. The unique indexes decide when
    several ask at once; this only spares the common case the work. Raises AlreadyExists."""
    if tenants.find_tenant_by_name(admin_db, name):
        raise AlreadyExists("This name is already taken", incorrect_field="name")
    if subdomain and tenants.find_tenant_id_by_subdomain(admin_db, subdomain):
        raise AlreadyExists("This subdomain is already taken", incorrect_field="subdomain")


def _may_still_arrive(error: BaseException, cluster: str) -> bool:
    """Whether a write to another deployment than the admin database's was given up, and may yet be
    done."""
    if cluster != DEFAULT_CLUSTER and is_unreachable(error):
        return True
    cause = error.__cause__
    return isinstance(cause, PyMongoError) and cause.timeout
