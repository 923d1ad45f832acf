"""What a user is to a tenant, where it concerns the admin database as well."""

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
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
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


class Membership:
    """Changes to users that span a tenant's database and the admin database."""

    def __init__(
        self,
        connections: ConnectionManager,
        hasher: PasswordHasher,
        tokens: Tokens,
        revoked: Revocations,
        concurrency: TenantConcurrency,
        login_limits: LoginLimits,
        *,
        transaction_seconds: float,
    ) -> None:
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._revoked = revoked
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
        goes on. It counts as a login of the user. Raises CredentialsInvalid when `current` is
        wrong, RateLimited, Conflict when the password was changed by somebody else at the same
        time, RoleRequired when an operator acts as the user.
        """
        if claims.impersonator:
            raise RoleRequired("Only the user may do this, not an operator who acts as them")
        user = users.find_sound_user(db, claims.user_id)
        if user is None:
            raise TokenRevoked("The user of this token no longer exists")
        self._login_limits.count(actor.ip, user["email"])
        if not self._hasher.verify(current, user.get("password"), tenant.id):
            raise CredentialsInvalid(
                "The current password is wrong", incorrect_field="currentPassword"
            )
        hashed = self._hasher.hash(new, tenant.id)
        version = user["tokenVersion"] + 1

        def replace_password(db: MongoDatabase) -> MongoDocument:
            changed = users.replace_password(
                db, claims.user_id, current=user["password"], new=hashed, token_version=version
            )
            if changed is None:
                raise Conflict("The user was changed meanwhile; try again")
            return changed

        def end_other_sessions() -> None:
            revocations.upsert_user_revocation(
                self._connections.admin_db,
                tenant.id,
                claims.user_id,
                version=version,
                except_family=claims.family,
                expires_at=utc_now() + self._tokens.longest_life,
            )
            actor.record(self._connections.admin_db, "auth.password_change", tenant.id)

        changed = write_both(
            self._connections,
            tenant,
            db,
            in_tenant=replace_password,
            in_admin=end_other_sessions,
            seconds=self._transaction_seconds,
        )
        self._revoked.forget(revocations.user_key(tenant.id, claims.user_id))
        return changed

    def accept_invitation(
        self, token: str, password: str, hints: TenantHints, actor: Actor
    ) -> MongoDocument:
        """Set the first password of the user whom the invitation names, and return the user.

        Raises TokenInvalid, TokenExpired, TenantMismatch, and TokenRevoked when it was used
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
                user = users.find_user(lease.database, claims.user_id)
                if user is None or user.get("invitationId") != claims.id:
                    raise TokenRevoked("This invitation is not open any more")
                hashed = self._hasher.hash(password, claims.tenant_id)

                def accept(db: MongoDatabase) -> MongoDocument:
                    accepted = users.accept_invitation(
                        db, claims.user_id, invitation_id=claims.id, password=hashed
                    )
                    if accepted is None:
                        raise TokenRevoked("This invitation is not open any more")
                    return accepted

                return write_both(
                    self._connections,
                    lease.tenant,
                    lease.database,
                    in_tenant=accept,
                    in_admin=lambda: actor.known_as(claims.user_id).record(
                        self._connections.admin_db, "auth.invitation_accept", claims.tenant_id
                    ),
                    seconds=self._transaction_seconds,
                    admin_first=True,
                )
