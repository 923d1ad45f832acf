"""Rate limits that are counted across all processes.

The counts are in the admin database, reached through the application's own client. While they
cannot be kept there, each process counts for itself.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from limits import RateLimitItem
from limits.storage import MemoryStorage, MongoDBStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, RateLimiter
from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.write_concern import WriteConcern

from multitenant.errors import DatabaseUnavailable, RateLimited
from multitenant.repositories.model import MongoDatabase

logger = logging.getLogger(__name__)

Limits = Sequence[RateLimitItem]


class RateLimits:
    """Counts what is done, by keys."""

    def __init__(
        self,
        scope: str,
        admin_db: Callable[[], MongoDatabase],
        now: Callable[[], float],
        *,
        seconds: float,
        exactly: bool,
    ) -> None:
        """Keys of different scopes are counted apart. `now` tells the time, in seconds since the
        epoch, the same in every process. The admin database has so many `seconds` to count. With
        `exactly` any period counts, and each count is kept for one; without, as many again may
        follow where a period begins, and a limit costs one number, however high it is."""
        self._scope = scope
        self._seconds = seconds
        self._now = now
        self._strategy: type[RateLimiter] = (
            MovingWindowRateLimiter if exactly else FixedWindowRateLimiter
        )
        self._shared: RateLimiter = self._strategy(_AdminStorage(admin_db, now))
        self._own: RateLimiter | None = None
        self._lock = threading.Lock()

    def count(self, counted: Iterable[tuple[str, Limits]], message: str) -> None:
        """Count once under each of these keys; raise RateLimited, with this message, where that is
        more than its limits allow."""
        limiter, now = self._shared, self._now
        for key, limits in counted:
            for limit in limits:
                try:
                    with pymongo.timeout(self._seconds):
                        self._count(limiter, limit, key, now, message)
                except (PyMongoError, DatabaseUnavailable) as error:
                    logger.warning("Counted per worker (%s): %s", self._scope, type(error).__name__)
                    limiter, now = self._fallback(), time.time  # for the others, too
                    self._count(limiter, limit, key, now, message)

    def _count(
        self,
        limiter: RateLimiter,
        limit: RateLimitItem,
        key: str,
        now: Callable[[], float],
        message: str,
    ) -> None:
        if not limiter.hit(limit, self._scope, key):
            reset_at = limiter.get_window_stats(limit, self._scope, key).reset_time
            raise RateLimited(message, retry_after=max(1, int(reset_at - now()) + 1))

    def _fallback(self) -> RateLimiter:
        with self._lock:
            if self._own is None:
                self._own = self._strategy(MemoryStorage())
            return self._own


class _AdminStorage(MongoDBStorage):
    """The library's storage, on a client that is open already, and by the time that all processes
    go by: one whose clock is ahead would lock the others' users out until they are there, too."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], now: Callable[[], float]) -> None:
        super().__init__(
            "mongodb://",
            counter_collection_name="ratelimitcounters",
            window_collection_name="ratelimits",
        )
        self._admin_db = admin_db
        self._now = now

    def __del__(self) -> None:
        """Leave the client alone, which the library would close."""

    def _init_mongo_client(self, uri: str | None, **options: Any) -> Any:
        return self._admin_db().client

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if there is room. The loser of two first attempts at once looks like one too
        many: what counts is the second answer, when the record is there."""
        return any(self._acquired(key, limit, expiry, amount) for _ in range(2))

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count in a fixed window, which begins with the first; return how many there are."""
        now = datetime.fromtimestamp(self._now(), UTC)
        is_over = {"$lt": ["$expireAt", now]}
        end = now + timedelta(seconds=expiry)
        count = {"$cond": [is_over, amount, {"$add": ["$count", amount]}]}
        counted = self.counters.find_one_and_update(
            {"_id": key},
            [{"$set": {"count": count, "expireAt": {"$cond": [is_over, end, "$expireAt"]}}}],
            upsert=True,
            return_document=ReturnDocument.AFTER,
        )
        return int(counted["count"]) if counted else 0

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest attempt was that still counts (now, if none does), and how many
        do."""
        now = self._now()
        found = self.windows.find_one({"_id": key}) or {"entries": []}
        counting = [entry for entry in found["entries"] if entry >= now - expiry]
        return min(counting, default=now), len(counting)

    def _acquired(self, key: str, limit: int, expiry: int, amount: int) -> bool:
        now = self._now()
        last = f"entries.{limit - amount}"
        try:
            self.windows.update_one(
                {"_id": key, last: {"$not": {"$gte": now - expiry}}},
                {
                    "$push": {
                        "entries": {"$each": [now] * amount, "$position": 0, "$slice": limit}
                    },
                    "$set": {"expireAt": datetime.fromtimestamp(now + expiry, UTC)},
                },
                upsert=True,
            )
        except DuplicateKeyError:
            return False
        return True

    @property
    def _database(self) -> Any:
        """A count that is lost in an election does no harm, so writes wait for one server only."""
        _ = self.storage  # which makes the indexes the first time
        return self._admin_db().with_options(write_concern=WriteConcern(1))
