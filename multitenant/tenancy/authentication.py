"""Logging in: from an email and a password to a user of one tenant, and on by refresh."""

from dataclasses import dataclass

from bson import ObjectId

from multitenant.errors import (
    AlreadyExists,
    CredentialsInvalid,
    TenantRequired,
    TokenRevoked,
)
from multitenant.repositories.admin import revocations, tenant_users, tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.tenant import users
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Claims, TokenPair, Tokens, expiry
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.host_names import NOBODY, NamedTenant
from multitenant.tenancy.isolation import widened_scope
from multitenant.tenancy.revocations import Revocations
from multitenant.tenancy.tenant import Tenant

# An email in more tenants than this must name one: each costs a hash.
MAX_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class TenantHints:
    """What a request says of its tenant before anybody is logged in; all that is said counts."""

    text: str | None = None
    """An id, subdomain or name, from the login's body."""
    host: NamedTenant = NOBODY
    header: str | None = None
    """`X-Tenant-Id`."""

    def fit(self, tenant: Tenant) -> bool:
        """Whether nothing that was said names another tenant."""
        if self.header is not None and self.header != str(tenant.id):
            return False
        if self.host.names_one and self.host.tenant_id != tenant.id:
            return False
        if self.text is None:
            return True
        return self.text.casefold() in (str(tenant.id), tenant.subdomain, tenant.name.casefold())


@dataclass(frozen=True, slots=True)
class Session:
    """A user who has just proved who they are, and the tokens to go on with."""

    user_id: ObjectId
    tenant_id: ObjectId
    role: str
    tokens: TokenPair


class Authenticator:
    """Turns credentials and refresh tokens into sessions."""

    def __init__(
        self,
        connections: ConnectionManager,
        hasher: PasswordHasher,
        tokens: Tokens,
        revoked: Revocations,
    ) -> None:
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._revoked = revoked

    def login(self, email: str, password: str, hints: TenantHints) -> Session:
        """Return a session of the one tenant in which email and password fit.

        Raises CredentialsInvalid when there is none (for whatever reason, at the cost of one
        hash), TenantRequired when there are several, and what Tenant.ensure_usable() raises when
        the tenant may not work; that only to someone who knows the password.
        """
        admin_db = self._connections.admin_db
        records = tenants.find_tenants_by_ids(
            admin_db, tenant_users.find_tenant_ids(admin_db, email)
        )
        candidates = [
            tenant
            for tenant in map(Tenant.of, records)
            if tenant.status != "deleted" and hints.fit(tenant)
        ][:MAX_CANDIDATES]
        if not candidates:
            self._hasher.verify(password, None)
            raise CredentialsInvalid(incorrect_field="credentials")
        fitting = []
        for tenant in candidates:
            if user := self._verified_user(tenant, email, password):
                fitting.append((tenant, user))
        if not fitting:
            raise CredentialsInvalid(incorrect_field="credentials")
        if len(fitting) > 1:
            raise TenantRequired(incorrect_field="tenant")
        tenant, user = fitting[0]
        tenant.ensure_usable()
        return self._session(tenant, user, family=None)

    def refresh(self, claims: Claims, tenant: Tenant, db: MongoDatabase) -> Session:
        """Exchange a (verified) refresh token for a new pair; `db` is the tenant's database.

        A second use of the same token means that somebody else has it: the whole family is
        withdrawn. Raises TokenRevoked.
        """
        user = users.find_user(db, claims.user_id)
        if user is None or user["status"] != "active":
            raise TokenRevoked()
        # After the user was read: a password change before that is seen here, and one after it
        # makes the version that the new pair will carry too old.
        self._revoked.ensure_valid_now(claims)
        admin_db = self._connections.admin_db
        try:
            revocations.insert_used_token(admin_db, claims.id, expiry(claims))
        except AlreadyExists as reused:
            self.end_session(claims)
            raise TokenRevoked() from reused
        return self._session(tenant, user, family=claims.family)

    def end_session(self, claims: Claims) -> None:
        """Withdraw every token that descends from the same login as this one."""
        expires_at = utc_now() + self._tokens.longest_life
        revocations.upsert_family_revocation(self._connections.admin_db, claims.family, expires_at)
        self._revoked.forget()

    def _verified_user(self, tenant: Tenant, email: str, password: str) -> MongoDocument | None:
        with self._connections.lease(tenant.id) as lease, widened_scope(tenant.db_name):
            user = users.find_user_by_email(lease.database, email)
        fits = self._hasher.verify(password, user.get("password") if user else None)
        return user if fits and user and user["status"] == "active" else None

    def _session(self, tenant: Tenant, user: MongoDocument, *, family: str | None) -> Session:
        role = tenant.role_of(user)
        pair = self._tokens.issue_pair(
            user_id=user["_id"],
            tenant_id=tenant.id,
            role=role,
            version=user["tokenVersion"],
            family=family,
        )
        return Session(user_id=user["_id"], tenant_id=tenant.id, role=role, tokens=pair)
