"""How often anybody may try to log in: counted across all workers.

The counts are in the admin database, reached through the application's own client. While they
cannot be kept there, each worker counts for itself.
"""

import hashlib
import ipaddress
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pymongo
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, MongoDBStorage
from limits.strategies import MovingWindowRateLimiter
from pymongo.errors import DuplicateKeyError, PyMongoError
from pymongo.write_concern import WriteConcern

from multitenant.errors import DatabaseUnavailable, RateLimited
from multitenant.repositories.model import MongoDatabase

logger = logging.getLogger(__name__)

IPV6_PREFIX = 64  # what one customer of a provider has, and may change within at will
SCOPE = "login"


class LoginLimits:
    """Counts logins by address and by email."""

    def __init__(
        self,
        limits: str,
        admin_db: Callable[[], MongoDatabase],
        now: Callable[[], float],
        *,
        seconds: float,
    ) -> None:
        """`limits` is in the notation of the library of that name, such as `20 per minute`; `now`
        tells the time, in seconds since the epoch, the same in every process. The admin database
        has so many `seconds` to count."""
        self._seconds = seconds
        self._limits = parse_many(limits)
        self._now = now
        self._shared = MovingWindowRateLimiter(_AdminStorage(admin_db, now))
        self._own: MovingWindowRateLimiter | None = None
        self._lock = threading.Lock()

    def count(self, address: str | None, email: str | None) -> None:
        """Count one login, or whatever else checks or sets a password; raise RateLimited when
        there were more than the limits allow, from this address (of IPv6, this network) or for
        this email. Accepting an invitation has no email."""
        limiter, now = self._shared, self._now
        for key in (_address_key(address), *([_email_key(email)] if email else ())):
            for limit in self._limits:
                try:
                    with pymongo.timeout(self._seconds):
                        _count(limiter, limit, key, now)
                except (PyMongoError, DatabaseUnavailable) as error:
                    logger.warning("Logins are counted per worker: %s", type(error).__name__)
                    limiter, now = self._fallback(), time.time  # for the others, too
                    _count(limiter, limit, key, now)

    def _fallback(self) -> MovingWindowRateLimiter:
        with self._lock:
            if self._own is None:
                self._own = MovingWindowRateLimiter(MemoryStorage())
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


def _count(
    limiter: MovingWindowRateLimiter, limit: RateLimitItem, key: str, now: Callable[[], float]
) -> None:
    if not limiter.hit(limit, SCOPE, key):
        reset_at = limiter.get_window_stats(limit, SCOPE, key).reset_time
        raise RateLimited(
            "Too many logins from this address or for this email; try again later",
            retry_after=max(1, int(reset_at - now()) + 1),
        )


def _address_key(address: str | None) -> str:
    text = address or "unknown"
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return text
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            return str(ip.ipv4_mapped)
        return str(ipaddress.ip_network((ip, IPV6_PREFIX), strict=False))
    return text


def _email_key(email: str) -> str:
    """A key of bounded length, which does not tell the email."""
    return "email-" + hashlib.sha256(email.encode()).hexdigest()
