"""The users of a database that a tenant gets or gets back, and what becomes of their tokens."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from bson import ObjectId

from multitenant.errors import BackupError
from multitenant.repositories.admin import revocations, tenant_users
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.tenant import users
from multitenant.tenancy.contents.raw_documents import decoded_leniently

MAX_TOKEN_VERSION = 2**53
"""Nobody's grows that far."""
CLOCKS_DIFFER = timedelta(seconds=5)
"""A token from before the switch may say that it is this much younger. Nor does a user who is added
just after it get a token that is good before this has passed."""
SECRET = ("password", "role", "status")
"""What lets a user in, and to what."""


@dataclass(frozen=True, slots=True)
class ReturningUsers:
    """The difference between the users of a tenant's present database and those of the next."""

    emails: dict[ObjectId, str]
    """Of all users of the next one."""
    token_version: int
    """Below which all tokens end."""
    back: list[str]
    """Emails of those whom the present one does not have."""
    gone: list[str]
    """Emails of those whom the next one does not have."""
    changed: list[str]
    """Emails of those whose password, role or status is another."""

    def write(self, admin_db: MongoDatabase, tenant_id: ObjectId, *, expires_at: datetime) -> None:
        """Set the memberships, and end all sessions until `expires_at`, in the transaction that
        switches."""
        tenant_users.replace_tenant_users(admin_db, tenant_id, self.emails)
        revocations.upsert_tenant_revocation(
            admin_db,
            tenant_id,
            version=self.token_version,
            issued_until=utc_now() + CLOCKS_DIFFER,
            expires_at=expires_at,
        )


def sound_users(db: MongoDatabase) -> dict[ObjectId, str]:
    """Return the emails of all users by their ids. Raises BackupError when one is not as the
    schema says, and when there is no owner who could do anything (an invited one can)."""
    emails: dict[ObjectId, str] = {}
    owned = False
    for user in users.iterate_users(decoded_leniently(db)):
        if not users.is_sound(db, user) or user["tokenVersion"] > MAX_TOKEN_VERSION:
            raise BackupError(f"The user {user['_id']} is not as users are: look at the data")
        owned = owned or (user["role"] == "owner" and user["status"] != "disabled")
        emails[user["_id"]] = user["email"]
    if not owned:
        raise BackupError("It has no owner: nobody could use the tenant")
    return emails


def prepare_users(
    admin_db: MongoDatabase, tenant_id: ObjectId, present: MongoDatabase, following: MongoDatabase
) -> ReturningUsers:
    """Make the users of `following` ready to be the tenant's, and return what has to be written
    with the switch. Raises BackupError: see sound_users().

    Going back must not bring back what was ended since: a token of any version that was ever given
    out is older than those that will be, and an invitation is open only if it still is.
    """
    emails = sound_users(following)
    present_users = users.iterate_users(decoded_leniently(present))
    before = {user["_id"]: user for user in present_users}
    version = revocations.newest_revoked_version(admin_db, tenant_id)
    back, changed, void = [], [], []
    for user in users.iterate_users(following):
        version = max(version, user["tokenVersion"])
        known = before.get(user["_id"])
        if known is None:
            back.append(user["email"])
        elif _differ(user, known):
            changed.append(user["email"])
        if "invitationId" in user and user["invitationId"] != (known or {}).get("invitationId"):
            void.append(user["_id"])
    version = max([version, *map(_token_version, before.values())]) + 1
    users.set_token_version(following, version)
    users.void_invitations(following, void)
    return ReturningUsers(
        emails=emails,
        token_version=version,
        back=sorted(back),
        gone=sorted(str(user.get("email")) for _id, user in before.items() if _id not in emails),
        changed=sorted(changed),
    )


def _token_version(user: MongoDocument) -> int:
    """Of a user in a database whose owner may have written anything there."""
    version = user.get("tokenVersion")
    return version if isinstance(version, int) and version <= MAX_TOKEN_VERSION else 0


def _differ(one: MongoDocument, other: MongoDocument) -> bool:
    return any(one.get(name) != other.get(name) for name in SECRET)
