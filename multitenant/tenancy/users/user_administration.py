"""Adding, changing and removing the users of a tenant.

Each is one event: in the tenant's database, in the admin database (memberships, withdrawn tokens)
and in the audit log, and there may be only so many (see change_limits.py). Those of one tenant
happen one after another (see repositories/turns.py), so what they make sure of still holds when
they commit: the limit of users, that an owner remains, and that whoever asks may do it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import uuid4

from bson import ObjectId

from multitenant.errors import Conflict, DamagedRecord, NotFound, TokenRevoked, UserLimitReached
from multitenant.repositories.admin import revocations, tenant_users, tenants
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.tenant import users
from multitenant.repositories.turns import take_turn
from multitenant.schemas.tenant.users import NewUser, UserChanges
from multitenant.security.passwords import PasswordHasher
from multitenant.security.tokens import Claims, Tokens
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.lifecycle.both_databases import write_both
from multitenant.tenancy.routing.connection_manager import ConnectionManager
from multitenant.tenancy.routing.revocations import Revocations
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.users.change_limits import ChangeLimits
from multitenant.tenancy.users.user_rules import (
    effective_changes,
    ensure_may_manage,
    ensure_owner_remains,
    ensure_role_exists,
    ensure_somebody_else,
    ensure_still_manages,
)
from multitenant.tenancy.users.withdrawals import Withdrawals

T = TypeVar("T")

USERS = "users"
"""Whose turns they are, in a tenant's database; in the admin database, the tenant's id."""
ANY_VERSION = 1_000_000
"""Further than anybody's tokens are ahead of the newest withdrawal that is known."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Whoever manages users, the tenant in which they do it, and its database."""

    tenant: Tenant
    db: MongoDatabase
    claims: Claims
    actor: Actor


@dataclass(frozen=True, slots=True)
class Invited:
    """A user, and the token of their invitation if they have one."""

    user: MongoDocument
    invitation_token: str | None


class UserAdministration:
    """Changes who belongs to a tenant, and as what."""

    def __init__(
        self,
        connections: ConnectionManager,
        hasher: PasswordHasher,
        tokens: Tokens,
        revoked: Revocations,
        withdrawals: Withdrawals,
        limits: ChangeLimits,
        *,
        transaction_seconds: float,
    ) -> None:
        self._connections = connections
        self._hasher = hasher
        self._tokens = tokens
        self._revoked = revoked
        self._withdrawals = withdrawals
        self._limits = limits
        self._transaction_seconds = transaction_seconds

    def add(self, by: Manager, new: NewUser) -> Invited:
        """Add a user, who is invited when there is no password.

        Raises RoleRequired, AlreadyExists with `email`, and UserLimitReached.
        """
        ensure_role_exists(by.tenant, new.role if "role" in new.model_fields_set else None)
        role = "owner" if by.tenant.system else new.role
        ensure_may_manage(by.claims, role)
        self._limits.ensure_may_change(by.tenant.id)
        user_id, now = ObjectId(), utc_now()
        password = new.password.get_secret_value() if new.password else None
        hashed = self._hasher.hash(password, by.tenant.id) if password else None
        invitation_id = None if hashed else uuid4().hex
        left_over = self._find_left_over(by, new.email)

        def insert_user(db: MongoDatabase) -> MongoDocument:
            return users.insert_user(
                db,
                user_id,
                email=new.email,
                role=role,
                password=hashed,
                invitation_id=invitation_id,
            )

        def insert_membership(admin_db: MongoDatabase) -> None:
            if left_over:
                tenant_users.delete_tenant_user(admin_db, by.tenant.id, left_over, email=new.email)
            _ensure_room(admin_db, by.tenant.id)
            tenant_users.insert_tenant_user(
                admin_db, user_id, email=new.email, tenant_id=by.tenant.id
            )
            self._record(by, "user.add", user_id, email=new.email, role=role)

        user = self._write(by, insert_user, insert_membership, admin_first=True)
        return Invited(user, self._invitation(by.tenant, user, now))

    def change(self, by: Manager, user_id: ObjectId, changes: UserChanges) -> MongoDocument:
        """Change a user's role or status and return the user; every token they hold ends with it.
        Where nothing would change, just return the user.

        Raises NotFound, RoleRequired, and Conflict for oneself, for the last active owner, and
        when the user was changed at the same time.
        """
        user = self._manageable(by, user_id)
        ensure_role_exists(by.tenant, changes.role)
        ensure_may_manage(by.claims, changes.role or user["role"])
        fields = effective_changes(user, changes)
        if not fields:
            self._finish_change(by, user)
            return user
        self._limits.ensure_may_change(by.tenant.id, user_id)
        version = user["tokenVersion"] + 1

        def update_user(db: MongoDatabase) -> MongoDocument:
            ensure_owner_remains(db, user)
            changed = users.update_user(
                db,
                user,
                token_version=version,
                except_family=None,
                unanswered_invitation=None,
                **fields,
            )
            return _unless_gone(changed)

        def end_sessions(admin_db: MongoDatabase) -> None:
            self._withdrawals.end_sessions(by.tenant.id, user_id, version)
            told = {name: fields[name] for name in ("role", "status") if name in fields}
            self._record(by, "user.change", user_id, email=user["email"], **told)

        changed = self._write(by, update_user, end_sessions)
        self._revoked.forget(revocations.user_key(by.tenant.id, user_id))
        return changed

    def remove(self, by: Manager, user_id: ObjectId) -> MongoDocument:
        """Remove a user and return them as they were; every token they hold ends with it.

        Raises NotFound, RoleRequired, and Conflict for oneself, for the last active owner, and
        when the user was changed at the same time.
        """
        self._finish_removal(by, user_id)
        user = self._manageable(by, user_id)
        self._limits.ensure_may_change(by.tenant.id, user_id)

        def delete_user(db: MongoDatabase) -> MongoDocument:
            ensure_owner_remains(db, user)
            return _unless_gone(users.delete_user(db, user))

        def delete_membership(admin_db: MongoDatabase) -> None:
            tenant_users.delete_tenant_user(admin_db, by.tenant.id, user_id, email=user["email"])
            self._withdrawals.end_sessions(by.tenant.id, user_id, user["tokenVersion"] + 1)
            about = {"email": user["email"], "role": user["role"]}
            self._record(by, "user.remove", user_id, **about)

        removed = self._write(by, delete_user, delete_membership)
        self._revoked.forget(revocations.user_key(by.tenant.id, user_id))
        return removed

    def invite_again(self, by: Manager, user_id: ObjectId) -> Invited:
        """Give an invited user a new invitation; the one before is void.

        Raises NotFound, RoleRequired, and Conflict for a user who is not invited.
        """
        user = self._manageable(by, user_id)
        if user["status"] != "invited":
            raise Conflict("Only a user who has not accepted an invitation yet can be invited")
        self._limits.ensure_may_change(by.tenant.id, user_id)
        now, invitation_id = utc_now(), uuid4().hex

        def replace_invitation(db: MongoDatabase) -> MongoDocument:
            return _unless_gone(users.update_user(db, user, invitation_id=invitation_id))

        def note(admin_db: MongoDatabase) -> None:
            self._record(by, "user.invite", user_id, email=user["email"])

        invited = self._write(by, replace_invitation, note)
        return Invited(invited, self._invitation(by.tenant, invited, now))

    def _manageable(self, by: Manager, user_id: ObjectId) -> MongoDocument:
        user = users.find_user(by.db, user_id)
        if user is None:
            raise NotFound("There is no such user")
        if not users.is_sound(by.db, user):
            raise Conflict("What is stored of this user does not fit its schema: change it there")
        ensure_somebody_else(by.claims, user_id)
        ensure_may_manage(by.claims, user["role"])
        return user

    def _write(
        self,
        by: Manager,
        in_tenant: Callable[[MongoDatabase], T],
        in_admin: Callable[[MongoDatabase], None],
        *,
        admin_first: bool = False,
    ) -> T:
        """Run both in their turn; see write_both()."""
        admin_db = self._connections.admin_db

        def take_turn_in_tenant(db: MongoDatabase) -> T:
            take_turn(db, USERS)
            result = in_tenant(db)
            ensure_still_manages(db, by.claims)
            return result

        return write_both(
            self._connections,
            by.tenant,
            by.db,
            in_tenant=take_turn_in_tenant,
            in_admin=lambda: in_admin(admin_db),
            seconds=self._transaction_seconds,
            admin_first=admin_first,
        )

    def _record(self, by: Manager, action: str, user_id: ObjectId, **details: Any) -> None:
        """Write the change to the audit log, and count it."""
        admin_db = self._connections.admin_db
        by.actor.record(admin_db, action, by.tenant.id, userId=str(user_id), **details)
        self._limits.count_change(by.tenant.id, None if action == "user.add" else user_id)

    def _finish_change(self, by: Manager, user: MongoDocument) -> None:
        """Withdraw the tokens of before a change, if that was all that was missing: see ADR 10."""
        if by.tenant.cluster == DEFAULT_CLUSTER or not users.is_sound(by.db, user):
            return
        if user["tokenVersion"] == 0:
            return
        self._withdrawals.end_sessions(
            by.tenant.id,
            user["_id"],
            user["tokenVersion"],
            except_family=user.get("exceptFamily"),
        )
        self._revoked.forget(revocations.user_key(by.tenant.id, user["_id"]))

    def _finish_removal(self, by: Manager, user_id: ObjectId) -> None:
        """Remove what is left of a user who is gone: the membership, and their tokens. See ADR
        10."""
        admin_db = self._connections.admin_db
        if by.tenant.cluster == DEFAULT_CLUSTER or users.find_user(by.db, user_id):
            return
        email = tenant_users.find_email(admin_db, by.tenant.id, user_id)
        if email is None:
            return

        def delete_membership(admin_db: MongoDatabase) -> None:
            tenant_users.delete_tenant_user(admin_db, by.tenant.id, user_id, email=email)
            newest = revocations.newest_revoked_version(admin_db, by.tenant.id)
            self._withdrawals.end_sessions(by.tenant.id, user_id, newest + ANY_VERSION)
            self._record(by, "user.remove", user_id, email=email)

        self._write(by, lambda db: None, delete_membership)
        self._revoked.forget(revocations.user_key(by.tenant.id, user_id))

    def _find_left_over(self, by: Manager, email: str) -> ObjectId | None:
        """Return whose membership there is without their user: what is left where no transaction
        spans both databases and the process ended between the two (see ADR 10)."""
        if by.tenant.cluster == DEFAULT_CLUSTER:
            return None
        user_id = tenant_users.find_user_id(self._connections.admin_db, by.tenant.id, email)
        return None if users.find_user_by_email(by.db, email) else user_id

    def _invitation(self, tenant: Tenant, user: MongoDocument, now: datetime) -> str | None:
        if "invitationId" not in user:
            return None
        return self._tokens.issue_invitation(
            user_id=user["_id"],
            tenant_id=tenant.id,
            role=tenant.role_of(user),
            invitation_id=user["invitationId"],
            invited_at=now,
        )


def _ensure_room(admin_db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Return if the tenant may have one more user; whoever changes the limit takes the turn that
    write_both() takes. Raises UserLimitReached."""
    record = tenants.find_tenant(admin_db, tenant_id)
    if record is None:
        raise TokenRevoked("The tenant of this token no longer exists")
    limit = record.get("userLimit")
    if limit is None:
        return
    if not isinstance(limit, int):
        raise DamagedRecord(f"The record of the tenant {tenant_id} is damaged: look at userLimit")
    if tenant_users.count_tenant_users(admin_db, tenant_id, at_most=limit) >= limit:
        raise UserLimitReached(f"This tenant may have {limit} users, and has no fewer")


def _unless_gone(user: MongoDocument | None) -> MongoDocument:
    if user is None:
        raise Conflict("The user was changed meanwhile; look at them again")
    return user
