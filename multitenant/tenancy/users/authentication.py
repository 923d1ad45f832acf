"""Logging in: from an email and a password to a user of one tenant, and on by refresh."""

from dataclasses import dataclass
from datetime import timedelta

import pymongo
from bson import ObjectId

from multitenant.errors import (
    Conflict,
    CredentialsInvalid,
    DatabaseUnavailable,
    DomainError,
    NotFound,
    TenantRequired,
    TokenRevoked,
)
from multitenant.repositories.admin import tenant_users, tenants
from multitenant.repositories.admin.damaged_records import ensure_intact, legible
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import users
from multitenant.repositories.transactions import run_transaction
from multitenant.security.passwords import NO_TENANT, PasswordHasher
from multitenant.security.tokens import Claims, TokenPair, Tokens
from multitenant.tenancy.actor import Actor, Outcome
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted
from multitenant.tenancy.failures import contained
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.host_names import NOBODY, NamedTenant
from multitenant.tenancy.routing.revocations import Revocations
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.routing.tenant_concurrency import TenantConcurrency
from multitenant.tenancy.users.change_limits import ChangeLimits
from multitenant.tenancy.users.refresh_uses import RefreshUses
from multitenant.tenancy.users.withdrawals import Withdrawals

# An email in more tenants than this must name one: each costs a hash.
MAX_CANDIDATES = 5
SECONDS_FOR_EACH = 3.0
"""What the database of each of several has to tell of its user."""
REFUSED_LOGINS_KEPT = timedelta(days=90)


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
        if self.header is not None and self.header.lower() != str(tenant.id):
            return False
        if self.host.names_one and self.host.tenant_id != tenant.id:
            return False
        if self.text is None:
            return True
        return self.text.casefold() in _names(tenant)

    def best(self, tenants: list[Tenant]) -> Tenant | None:
        """The one of these tenants, which all fit, that is meant; None when that is open. What is
        one tenant's subdomain and another's name means the former."""
        if self.text is not None:
            ranks = {_names(tenant).index(self.text.casefold()): tenant for tenant in tenants}
            return ranks[min(ranks)]
        return tenants[0] if len(tenants) == 1 else None


def _names(tenant: Tenant) -> tuple[str | None, ...]:
    """All that a login may call a tenant; ids, subdomains and names are each unique."""
    return str(tenant.id), tenant.subdomain, tenant.name.casefold()


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
        withdrawals: Withdrawals,
        concurrency: TenantConcurrency,
        refresh_uses: RefreshUses,
        change_limits: ChangeLimits,
        *,
        transaction_seconds: float,
    ) -> None:
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._revoked = revoked
        self._withdrawals = withdrawals
        self._refresh_uses = refresh_uses
        self._concurrency = concurrency
        self._change_limits = change_limits
        self._transaction_seconds = transaction_seconds

    def login(self, email: str, password: str, hints: TenantHints, actor: Actor) -> Session:
        """Return a session of the one tenant in which email and password fit.

        Raises CredentialsInvalid when there is none (for whatever reason, at the cost of one
        hash), TenantRequired when there are several, or more than can be tried, and what
        Tenant.ensure_usable() raises when the tenant may not work; that only to someone who knows
        the password. Either way the audit log has it before anybody is answered.
        """
        admin_db = self._connections.admin_db
        memberships = tenant_users.find_memberships(admin_db, email)
        candidates: list[Tenant] = []
        damaged = False
        for record in tenants.find_tenants_by_ids(admin_db, [*memberships]):
            candidate = Tenant.of(legible([record])[0])
            if candidate.status == "deleted" or not hints.fit(candidate):
                continue
            with contained(f"Nobody can log in to tenant {candidate.id}") as failure:
                ensure_intact(record)
                candidates.append(candidate)
            damaged = damaged or bool(failure)
        too_many = len(candidates) > MAX_CANDIDATES
        read_at = self._tokens.present()
        fitting = self._fitting(
            [] if too_many else candidates,
            memberships,
            password,
            unasked=DatabaseUnavailable() if damaged else None,
        )
        tenant = hints.best([tenant for tenant, _ in fitting]) if fitting else None
        try:
            if too_many:
                raise TenantRequired(
                    "This account exists in too many tenants to try: say which in 'tenant'",
                    incorrect_field="tenant",
                )
            if not fitting:
                raise CredentialsInvalid(incorrect_field="credentials")
            if tenant is None:
                raise TenantRequired(incorrect_field="tenant")
            tenant.ensure_usable()
        except DomainError as error:
            about = tenant or (candidates[0] if len(candidates) == 1 else None)
            actor.record(
                admin_db,
                "auth.login",
                about.id if about else None,
                outcome="failure",
                kept_for=REFUSED_LOGINS_KEPT,
                email=email,
                code=error.code,
            )
            raise
        user = next(user for of, user in fitting if of is tenant)
        self._withdrawals.record_token_life()
        actor.known_as(user["_id"]).record(admin_db, "auth.login", tenant.id)
        return self._session(tenant, user, read_at, family=None)

    def refresh(self, claims: Claims, tenant: Tenant, db: MongoDatabase, actor: Actor) -> Session:
        """Exchange a (verified) refresh token for a new pair; `db` is the tenant's database.

        A second use of the same token, later than the grace allows, means that somebody else has
        it: the whole family is withdrawn. Raises TokenRevoked, and RateLimited.
        """
        read_at = self._tokens.present()
        user = users.find_sound_user(db, claims.user_id)
        if user is None or user["status"] != "active":
            raise TokenRevoked()
        self._change_limits.count_refresh(tenant.id, claims.user_id)
        # After the user was read: a password change before that is seen here, and one after it
        # makes the version that the new pair will carry too old.
        self._revoked.ensure_valid_now(claims, user)
        self._withdrawals.record_token_life()
        if not self._refresh_uses.allow(claims):
            self._end_session(claims, actor, "auth.refresh_reused", "failure")
            raise TokenRevoked()
        return self._session(tenant, user, read_at, family=claims.family)

    def logout(self, claims: Claims, actor: Actor) -> None:
        """Withdraw every token that descends from the same login as this one."""
        self._end_session(claims, actor, "auth.logout", "success")

    def impersonate(
        self, operator: Claims, tenant_id: ObjectId, user_id: ObjectId, reason: str, actor: Actor
    ) -> str:
        """Return a short access token of the tenant's user for an operator, after the audit log
        has it.

        Raises NotFound, Conflict for operators, whom nobody impersonates, and for users who are
        not active, and what Tenant.ensure_usable() raises.
        """
        read_at = self._tokens.present()
        try:
            lease = self._connections.lease(tenant_id)
        except TokenRevoked as error:
            raise NotFound("There is no such tenant") from error
        with lease, widened_scope(lease.tenant.db_name):
            tenant = lease.tenant
            if tenant.system:
                raise Conflict("Nobody acts as an operator")
            if tenant.status == "deleted":
                raise Conflict("The tenant is deleted")
            tenant.ensure_usable()
            user = users.find_sound_user(lease.database, user_id)
            if user is None:
                raise NotFound("There is no such user in this tenant")
            if user["status"] != "active":
                raise Conflict(f"The user is {user['status']}")
        ensure_write_permitted()
        self._withdrawals.record_token_life()
        actor.record(
            self._connections.admin_db,
            "tenant.impersonate",
            tenant_id,
            userId=str(user_id),
            reason=reason,
        )
        return self._tokens.issue_impersonation(
            operator,
            user_id=user_id,
            tenant_id=tenant_id,
            role=tenant.role_of(user),
            version=user["tokenVersion"],
            read_at=read_at,
        )

    def _end_session(self, claims: Claims, actor: Actor, action: str, outcome: Outcome) -> None:
        admin_db = self._connections.admin_db

        def end() -> None:
            self._withdrawals.end_session(claims.family)
            actor.record(admin_db, action, claims.tenant_id, outcome=outcome)

        run_transaction(self._connections.admin_client, end, seconds=self._transaction_seconds)
        self._revoked.forget(claims.family)

    def _fitting(
        self,
        candidates: list[Tenant],
        memberships: dict[ObjectId, ObjectId],
        password: str,
        *,
        unasked: Exception | None,
    ) -> list[tuple[Tenant, MongoDocument]]:
        """The tenants in which the password fits, and the users there, at the cost of a look-up
        and a hash for each candidate and one at least. Where it fits nowhere that could be asked,
        raises why another tenant's database could not be: TenantBusy or DatabaseUnavailable.
        `unasked` is why one was left out already."""
        fitting: list[tuple[Tenant, MongoDocument]] = []
        # What one tenant's server does to its own people must not make others wait for long.
        limit = SECONDS_FOR_EACH if len(candidates) > 1 else None
        for candidate in candidates:
            found = None
            with (
                contained(f"Nobody can log in to tenant {candidate.id}") as failure,
                pymongo.timeout(limit),
            ):
                found = self._find_user(candidate, memberships[candidate.id])
            unasked = failure.error or unasked
            if self._opens(found, password, candidate.id) and found:
                fitting.append((candidate, found))
        if not candidates:  # as much as for a candidate: a look-up, and a hash
            nobody = users.find_sound_user(self._connections.admin_db, ObjectId())
            self._opens(nobody, password, NO_TENANT)
        if unasked and not fitting:
            raise unasked if isinstance(unasked, DomainError) else DatabaseUnavailable()
        return fitting

    def _find_user(self, tenant: Tenant, user_id: ObjectId) -> MongoDocument | None:
        """The user whom the membership means; another one of the same email is nobody, and so is
        one that the owner of the database has made up wrongly. The tenant may have moved to another
        database since it was read."""
        with (
            self._concurrency.entered(tenant.id),
            self._connections.lease(tenant.id) as lease,
            widened_scope(lease.tenant.db_name),
        ):
            return users.find_sound_user(lease.database, user_id)

    def _opens(self, user: MongoDocument | None, password: str, tenant: ObjectId | str) -> bool:
        """Whether the password is that of an active user, at the cost of one hash in any case, in
        the share of that tenant."""
        fits = self._hasher.verify(password, user.get("password") if user else None, tenant)
        return fits and user is not None and user["status"] == "active"

    def _session(
        self, tenant: Tenant, user: MongoDocument, read_at: int, *, family: str | None
    ) -> Session:
        """The session of a user who was read, with their tenant's database, not before `read_at`:
        a restore withdraws what was read before it by that time."""
        role = tenant.role_of(user)
        pair = self._tokens.issue_pair(
            user_id=user["_id"],
            tenant_id=tenant.id,
            role=role,
            version=user["tokenVersion"],
            family=family,
            read_at=read_at,
        )
        return Session(user_id=user["_id"], tenant_id=tenant.id, role=role, tokens=pair)
