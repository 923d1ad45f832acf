"""How much the users of one tenant may make the platform store in its own database.

Changes to users write to the audit log, and refreshes are kept until the token that was used would
have expired. Each limit has a counter for a fixed window, which begins with the first one counted.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from limits import RateLimitItem, parse_many
from pymongo import UpdateOne
from pymongo.collection import Collection

from multitenant.errors import RateLimited
from multitenant.repositories.durability import write_concern
from multitenant.repositories.model import MongoDatabase, MongoDocument

Counters = dict[str, RateLimitItem]
"""Limits by the ids of their counters."""

CHANGES_OF_A_USER = parse_many("60 per minute;600 per day")
REFRESHES_OF_A_USER = parse_many("600 per minute;10000 per day")
COLLECTION = "ratelimitcounters"
"""Where MongoDB removes what has expired: the storage of login_limits.py has an index for that."""


class ChangeLimits:
    """Counts what is written to the admin database for a tenant's users, by user and by tenant."""

    def __init__(
        self,
        of_a_tenant: str,
        admin_db: Callable[[], MongoDatabase],
        now: Callable[[], float],
    ) -> None:
        """`of_a_tenant` limits the changes to all users of a tenant, in the notation of the library
        `limits`. `now` tells the time, in seconds since the epoch, the same in every process."""
        self._of_a_tenant = parse_many(of_a_tenant)
        self._admin_db = admin_db
        self._now = now

    def ensure_may_change(self, tenant_id: ObjectId, user_id: ObjectId | None = None) -> None:
        """Return if the limits have room for a change to the user, or the adding of one (None).
        Raises RateLimited."""
        self._ensure_room(
            self._of_change(tenant_id, user_id),
            "Too many changes to this user, or to the users of this tenant; try again later",
        )

    def count_change(self, tenant_id: ObjectId, user_id: ObjectId | None = None) -> None:
        """Count the change. Call it in the transaction on the admin database that records it."""
        self._count(self._of_change(tenant_id, user_id))

    def count_refresh(self, tenant_id: ObjectId, user_id: ObjectId) -> None:
        """Count a refresh of one of the user's sessions, before it happens; raises RateLimited."""
        counters = _counters(f"refresh/{tenant_id}/{user_id}", REFRESHES_OF_A_USER)
        self._ensure_room(counters, "Too many refreshes of this user's sessions; try again later")
        self._count(counters)

    def _of_change(self, tenant_id: ObjectId, user_id: ObjectId | None) -> Counters:
        counters = _counters(f"change/{tenant_id}", self._of_a_tenant)
        if user_id is not None:
            counters |= _counters(f"change/{tenant_id}/{user_id}", CHANGES_OF_A_USER)
        return counters

    def _ensure_room(self, counters: Counters, message: str) -> None:
        now = datetime.fromtimestamp(self._now(), UTC)
        for counter in self._collection().find({"_id": {"$in": list(counters)}}):
            left = (counter["expireAt"] - now).total_seconds()
            if left > 0 and counter["count"] >= counters[counter["_id"]].amount:
                raise RateLimited(message, retry_after=int(left) + 1)

    def _count(self, counters: Counters) -> None:
        now = datetime.fromtimestamp(self._now(), UTC)
        self._collection().bulk_write(
            [_counted(key, limit, now) for key, limit in counters.items()]
        )

    def _collection(self) -> Collection[MongoDocument]:
        return self._admin_db().get_collection(COLLECTION, write_concern=write_concern())


def _counters(key: str, limits: Sequence[RateLimitItem]) -> Counters:
    return {f"{key}/{limit.amount}/{limit.get_expiry()}": limit for limit in limits}


def _counted(key: str, limit: RateLimitItem, now: datetime) -> UpdateOne:
    """Count one more, or the first of a new window where the last one is over."""
    is_over = {"$lte": ["$expireAt", now]}
    end = now + timedelta(seconds=limit.get_expiry())
    counted: dict[str, Any] = {
        "count": {"$cond": [is_over, 1, {"$add": ["$count", 1]}]},
        "expireAt": {"$cond": [is_over, end, "$expireAt"]},
    }
    return UpdateOne({"_id": key}, [{"$set": counted}], upsert=True)
