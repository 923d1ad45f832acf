"""How much the users of one tenant may make the platform store in its own database.

Changes to users write to the audit log, and refreshes are kept until the token that was used would
have expired.
"""

from collections.abc import Callable

from bson import ObjectId
from limits import parse_many

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.users.rate_limits import RateLimits

CHANGES_OF_A_USER = parse_many("60 per minute;600 per day")
REFRESHES_OF_A_USER = parse_many("600 per minute;10000 per day")


class ChangeLimits:
    """Counts what is written to the admin database for a tenant's users, by user and by tenant."""

    def __init__(
        self,
        of_a_tenant: str,
        admin_db: Callable[[], MongoDatabase],
        now: Callable[[], float],
        *,
        seconds: float,
    ) -> None:
        """`of_a_tenant` limits the changes to all users of a tenant, in the notation of `limits`;
        the rest is as in RateLimits."""
        self._of_a_tenant = parse_many(of_a_tenant)
        self._counts = RateLimits("change", admin_db, now, seconds=seconds, exactly=False)

    def count_change(self, tenant_id: ObjectId, user_id: ObjectId | None = None) -> None:
        """Count a change to a user, or the adding of one (None); raises RateLimited."""
        of_user = [(f"user-{tenant_id}-{user_id}", CHANGES_OF_A_USER)] if user_id else []
        self._counts.count(
            [*of_user, (f"tenant-{tenant_id}", self._of_a_tenant)],
            "Too many changes to this user, or to the users of this tenant; try again later",
        )

    def count_refresh(self, tenant_id: ObjectId, user_id: ObjectId) -> None:
        """Count a refresh of one of the user's sessions; raises RateLimited."""
        self._counts.count(
            [(f"refresh-{tenant_id}-{user_id}", REFRESHES_OF_A_USER)],
            "Too many refreshes of this user's sessions; try again later",
        )
