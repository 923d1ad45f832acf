"""What users do themselves that concerns a tenant's database and the admin database: changing their
password, and accepting an invitation.

Either may be done though its answer was lost, or was a 503. So whoever cannot have heard that it
was done may ask for it again (see ADR 35 and ADR 44).
"""

import logging
from collections.abc import Callable

import pymongo
from bson import ObjectId
from pymongo.errors import PyMongoError

from multitenant.errors import (
    Conflict,
    CredentialsInvalid,
    RoleRequired,
    TenantMismatch,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
)
from multitenant.repositories.admin import revocations
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import users
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Claims, Tokens
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.lifecycle.both_databases import write_both
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.revocations import Revocations
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.routing.tenant_concurrency import TenantConcurrency
from multitenant.tenancy.users.authentication import TenantHints
from multitenant.tenancy.users.login_limits import LoginLimits
from multitenant.tenancy.users.withdrawals import Withdrawals

logger = logging.getLogger(__name__)

FORGET_SECONDS = 2.0
"""For recording that an acceptance is answered, at most."""


class _AcceptedMeanwhile(Exception):
    """Raised when an invitation that was open is not any more."""


class Membership:
    """Changes to users that span a tenant's database and the admin database."""

    def __init__(
        self,
        connections: ConnectionManager,
        hasher: PasswordHasher,
        tokens: Tokens,
        revoked: Revocations,
        withdrawals: Withdrawals,
        concurrency: TenantConcurrency,
        login_limits: LoginLimits,
        *,
        transaction_seconds: float,
    ) -> None:
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._revoked = revoked
        self._withdrawals = withdrawals
        self._concurrency = concurrency
        self._login_limits = login_limits
        self._transaction_seconds = transaction_seconds

    def change_password(
        self,
        tenant: Tenant,
        db: MongoDatabase,
        claims: Claims,
        actor: Actor,
        *,
        current: str,
        new: str,
    ) -> MongoDocument:
        """Change the password of the token's user and return the user.

        Every other session of the user ends with it, in the same transaction; the one that asks
        goes on. The session that has made this change may ask for it again, should it not have
        heard the answer: what is missing is done then (see docs/adr/0035). It counts as a login of
        the user.

        Raises CredentialsInvalid when `current` is wrong, RateLimited, Conflict when the user was
        changed at the same time, TokenRevoked when the token was withdrawn or there is no such user
        (any more), RoleRequired when an operator acts as the user.
        """
        if claims.impersonator:
            raise RoleRequired("Only the user may do this, not an operator who acts as them")
        user = users.find_sound_user(db, claims.user_id)
        if user is None:
            raise TokenRevoked("The user of this token no longer exists")
        self._revoked.ensure_valid_now(claims, user)
        self._login_limits.count(actor.ip, user["email"])
        if not self._hasher.verify(current, user.get("password"), tenant.id):
            if not self._was_changed_here(user, claims, new, tenant.id):
                raise CredentialsInvalid(
                    "The current password is wrong", incorrect_field="currentPassword"
                )
            return self._end_others(tenant, db, claims, actor, user["tokenVersion"], lambda _: user)
        hashed = self._hasher.hash(new, tenant.id)

        def replace_password(db: MongoDatabase) -> MongoDocument:
            changed = users.replace_password(db, user, hashed, except_family=claims.family)
            if changed is None:
                raise Conflict("The user was changed meanwhile; try again")
            return changed

        version = user["tokenVersion"] + 1
        return self._end_others(tenant, db, claims, actor, version, replace_password)

    def _end_others(
        self,
        tenant: Tenant,
        db: MongoDatabase,
        claims: Claims,
        actor: Actor,
        version: int,
        in_tenant: Callable[[MongoDatabase], MongoDocument],
    ) -> MongoDocument:
        """Do `in_tenant`, which makes `version` the user's token version, and end the user's other
        sessions. Return what it returns."""

        def end_other_sessions() -> None:
            if self._withdrawals.end_sessions(
                tenant.id, claims.user_id, version, except_family=claims.family
            ):
                actor.record(self._connections.admin_db, "auth.password_change", tenant.id)

        changed = write_both(
            self._connections,
            tenant,
            db,
            in_tenant=in_tenant,
            in_admin=end_other_sessions,
            seconds=self._transaction_seconds,
        )
        self._revoked.forget(revocations.user_key(tenant.id, claims.user_id))
        return changed

    def _was_changed_here(
        self, user: MongoDocument, claims: Claims, new: str, tenant_id: ObjectId
    ) -> bool:
        """Whether this session has changed the user's password to `new`, and nobody has ended the
        user's sessions since."""
        return user.get("exceptFamily") == claims.family and self._hasher.verify(
            new, user.get("password"), tenant_id
        )

    def accept_invitation(
        self, token: str, password: str, hints: TenantHints, actor: Actor
    ) -> MongoDocument:
        """Set the first password of the user whom the invitation names, and return the user.

        An acceptance that could not be answered may be sent again, with the same password. Raises
        TokenInvalid, TokenExpired, TenantMismatch, RateLimited, and TokenRevoked when it was used
        before.
        """
        try:
            claims = self._tokens.verify(token, "invitation")
        except TokenInvalid as error:
            raise TokenInvalid("This is no invitation; ask for a new one") from error
        except TokenExpired as error:
            raise TokenExpired("This invitation has expired; ask for a new one") from error
        with (
            self._concurrency.entered(claims.tenant_id),
            self._connections.lease(claims.tenant_id) as lease,
        ):
            if not hints.fit(lease.tenant):
                raise TenantMismatch
            lease.tenant.ensure_usable()
            with widened_scope(lease.tenant.db_name):
                accepted = self._accept(lease.tenant, lease.database, claims, password, actor)
                self._forget_invitation(lease.database, claims)
                return accepted

    def _accept(
        self, tenant: Tenant, db: MongoDatabase, claims: Claims, password: str, actor: Actor
    ) -> MongoDocument:
        user = users.find_user(db, claims.user_id)
        if user is None or user.get("invitationId") != claims.id:
            return self._accepted_before(tenant, db, claims, password, actor)
        hashed = self._hasher.hash(password, tenant.id)

        def accept(db: MongoDatabase) -> MongoDocument:
            accepted = users.accept_invitation(
                db, claims.user_id, invitation_id=claims.id, password=hashed
            )
            if accepted is None:
                raise _AcceptedMeanwhile
            return accepted

        try:
            return write_both(
                self._connections,
                tenant,
                db,
                in_tenant=accept,
                in_admin=lambda: actor.known_as(claims.user_id).record(
                    self._connections.admin_db, "auth.invitation_accept", claims.tenant_id
                ),
                seconds=self._transaction_seconds,
                admin_first=True,
            )
        except _AcceptedMeanwhile:  # or withdrawn
            return self._accepted_before(tenant, db, claims, password, actor)

    def _accepted_before(
        self, tenant: Tenant, db: MongoDatabase, claims: Claims, password: str, actor: Actor
    ) -> MongoDocument:
        """Return the user who has accepted the invitation with this password, and may not know it.
        Raises TokenRevoked when there is none, and RateLimited: it checks a password."""
        user = users.find_sound_user(db, claims.user_id)
        if user and user.get("unansweredInvitation") == claims.id:
            self._login_limits.count(actor.ip, user["email"])
            if self._hasher.verify(password, user.get("password"), tenant.id):
                return user
        raise TokenRevoked("This invitation is not open any more")

    def _forget_invitation(self, db: MongoDatabase, claims: Claims) -> None:
        """Record that the acceptance is about to be answered. Where that fails it is answered all
        the same, and may be asked for once more."""
        try:
            with pymongo.timeout(FORGET_SECONDS):
                users.forget_invitation(db, claims.user_id, invitation_id=claims.id)
        except PyMongoError as error:
            logger.warning("An accepted invitation is remembered: %s", type(error).__name__)
