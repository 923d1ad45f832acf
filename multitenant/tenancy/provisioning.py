"""Making a tenant: it exists entirely, or not at all.

The database is prepared first, under a name nobody has used: collections, indexes, migrations.
Then one transaction inserts the tenant's record, its membership and its first user. Until that
commits there is no tenant; what was prepared is dropped at once, or by `multitenant tenants gc`
when the process did not live to do it.
"""

import hashlib
import json
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.errors import AlreadyExists, DatabaseUnavailable, ValidationFailed
from multitenant.repositories.admin import idempotency_keys, tenant_users, tenants
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.repositories.tenant import users
from multitenant.schemas.admin.tenants import NewTenant
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Tokens
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.isolation import widened_scope
from multitenant.tenancy.migrations import TENANT_MIGRATIONS, migrate
from multitenant.tenancy.orphans import drop_prepared, mark_prepared, unmark_prepared
from multitenant.tenancy.placement import DEFAULT_CLUSTER
from multitenant.tenancy.transactions import may_be_committed, run_transaction

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
    password: str | None
    invitation_id: str | None
    system: bool
    idempotency_key: str | None
    actor: Actor | None


class Provisioner:
    """Makes tenants on the cluster of the admin database."""

    def __init__(
        self,
        connections: ConnectionManager,
        hasher: PasswordHasher,
        tokens: Tokens,
        *,
        db_prefix: str,
        transaction_seconds: float,
    ) -> None:
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._db_prefix = db_prefix
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
        for another request.
        """
        if idempotency_key and (first := self._first_result(new, idempotency_key)):
            return first
        try:
            self._ensure_free(new)
            plan = self._plan(new, idempotency_key, actor, system=system)
            with widened_scope(plan.db_name):
                self._make(plan)
        except AlreadyExists:
            # Whoever was faster may have been this very request, sent again.
            if idempotency_key and (first := self._first_result(new, idempotency_key)):
                return first
            raise
        logger.info("Provisioned tenant %s", plan.tenant_id)
        return self._result(plan.tenant_id, plan.user_id, plan.invitation_id, plan.made_at)

    def _plan(
        self, new: NewTenant, idempotency_key: str | None, actor: Actor | None, *, system: bool
    ) -> _Plan:
        """Decide everything, and hash the password, which is slow, before anything is written."""
        tenant_id = ObjectId()
        password = new.password.get_secret_value() if new.password else None
        return _Plan(
            new=new,
            tenant_id=tenant_id,
            user_id=ObjectId(),
            made_at=utc_now(),
            db_name=f"{self._db_prefix}{tenant_id}",
            password=self._hasher.hash(password) if password else None,
            invitation_id=None if password else uuid4().hex,
            system=system,
            idempotency_key=idempotency_key,
            actor=actor,
        )

    def _ensure_free(self, new: NewTenant) -> None:
        """Refuse a name that is taken before anything is prepared. The unique indexes decide
        when several ask at once; this only spares the common case the work."""
        admin_db = self._connections.admin_db
        if tenants.find_tenant_by_name(admin_db, new.name):
            raise AlreadyExists("This name is already taken", incorrect_field="name")
        if new.subdomain and tenants.find_tenant_id_by_subdomain(admin_db, new.subdomain):
            raise AlreadyExists("This subdomain is already taken", incorrect_field="subdomain")

    def _make(self, plan: _Plan) -> None:
        client = self._connections.cluster_client(DEFAULT_CLUSTER)
        db = client[plan.db_name]
        try:
            mark_prepared(db, self._connections.admin_db.name)
            version = migrate(db, TENANT_MIGRATIONS)
            run_transaction(
                client, lambda: self._insert(plan, db, version), seconds=self._transaction_seconds
            )
        except Exception as error:
            if not may_be_committed(error):
                self._discard(db)
            raise

    def _insert(self, plan: _Plan, db: MongoDatabase, schema_version: int) -> None:
        """The writes of the transaction."""
        admin_db = self._connections.admin_db
        if not unmark_prepared(db):
            raise DatabaseUnavailable("Preparing the tenant took too long; try again")
        if plan.idempotency_key:
            idempotency_keys.insert_idempotency_key(
                admin_db,
                plan.idempotency_key,
                fingerprint=_fingerprint(plan.new),
                tenant_id=plan.tenant_id,
                user_id=plan.user_id,
                invitation_id=plan.invitation_id,
                made_at=plan.made_at,
                expires_at=plan.made_at + timedelta(hours=IDEMPOTENCY_HOURS),
            )
        tenants.insert_tenant(
            admin_db,
            id=plan.tenant_id,
            name=plan.new.name,
            subdomain=plan.new.subdomain,
            db_name=plan.db_name,
            cluster=DEFAULT_CLUSTER,
            isolation=plan.new.isolation,
            status="active",
            modules=plan.new.modules,
            user_limit=plan.new.user_limit,
            system=plan.system,
            schema_version=schema_version,
            created_at=plan.made_at,
            updated_at=plan.made_at,
        )
        if plan.actor:
            plan.actor.record(admin_db, "tenant.add", plan.tenant_id, name=plan.new.name)
        tenant_users.insert_tenant_user(
            admin_db, plan.user_id, email=plan.new.email, tenant_id=plan.tenant_id
        )
        users.insert_user(
            db,
            plan.user_id,
            email=plan.new.email,
            role="owner",
            password=plan.password,
            invitation_id=plan.invitation_id,
        )

    def _discard(self, db: MongoDatabase) -> None:
        try:
            drop_prepared(db, self._connections.admin_db.name)
        except PyMongoError:
            logger.warning("%s is left over; `multitenant tenants gc` drops it", db.name)

    def _first_result(self, new: NewTenant, key: str) -> ProvisionedTenant | None:
        """What an earlier request with this key has made; None when there was none."""
        kept = idempotency_keys.find_idempotency_key(self._connections.admin_db, key)
        if kept is None:
            return None
        if kept["fingerprint"] != _fingerprint(new):
            message = "was used for another request before"
            raise ValidationFailed(
                f"This Idempotency-Key {message}",
                incorrect_field="Idempotency-Key",
                errors=[{"field": "Idempotency-Key", "message": message}],
            )
        return self._result(
            kept["tenantId"], kept["userId"], kept.get("invitationId"), kept["madeAt"]
        )

    def _result(
        self,
        tenant_id: ObjectId,
        user_id: ObjectId,
        invitation_id: str | None,
        made_at: datetime,
    ) -> ProvisionedTenant:
        token = None
        if invitation_id:
            token = self._tokens.issue_invitation(
                user_id=user_id,
                tenant_id=tenant_id,
                role="owner",
                invitation_id=invitation_id,
                invited_at=made_at,
            )
        return ProvisionedTenant(tenant_id, user_id, token)


def _fingerprint(new: NewTenant) -> str:
    """Tells one request from another. The password is not part of it: a hash of it here could
    be guessed at."""
    body = new.model_dump(mode="json", exclude={"password"}) | {"invited": new.password is None}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
