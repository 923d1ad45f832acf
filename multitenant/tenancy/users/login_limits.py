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
from typing import Any

import pymongo
from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage, MongoDBStorage
from limits.strategies import MovingWindowRateLimiter
from pymongo.errors import PyMongoError
from pymongo.write_concern import WriteConcern

from multitenant.errors import DatabaseUnavailable, RateLimited
from multitenant.repositories.model import MongoDatabase

logger = logging.getLogger(__name__)

IPV6_PREFIX = 64  # what one customer of a provider has, and may change within at will
SCOPE = "login"


class LoginLimits:
    """Counts logins by address and by email."""

    def __init__(
        self, limits: str, admin_db: Callable[[], MongoDatabase], *, seconds: float
    ) -> None:
        """`limits` is in the notation of the library of that name, such as `20 per minute`. The
        admin database has so many seconds to count."""
        self._seconds = seconds
        self._limits = parse_many(limits)
        self._shared = MovingWindowRateLimiter(_AdminStorage(admin_db))
        self._own: MovingWindowRateLimiter | None = None
        self._lock = threading.Lock()

    def count(self, address: str | None, email: str | None) -> None:
        """Count one login; raise RateLimited when there were more than the limits allow, from
        this address (of IPv6, this network) or for this email. Accepting an invitation counts
        for the address, too, and has no email."""
        limiter = self._shared
        for key in (_address_key(address), *([_email_key(email)] if email else ())):
            for limit in self._limits:
                try:
                    with pymongo.timeout(self._seconds):
                        _count(limiter, limit, key)
                except (PyMongoError, DatabaseUnavailable) as error:
                    logger.warning("Logins are counted per worker: %s", type(error).__name__)
                    limiter = self._fallback()  # for the others as well: one has waited
                    _count(limiter, limit, key)

    def _fallback(self) -> MovingWindowRateLimiter:
        with self._lock:
            if self._own is None:
                self._own = MovingWindowRateLimiter(MemoryStorage())
            return self._own


class _AdminStorage(MongoDBStorage):
    """The library's storage, on a client that is open already."""

    def __init__(self, admin_db: Callable[[], MongoDatabase]) -> None:
        super().__init__(
            "mongodb://",
            counter_collection_name="ratelimitcounters",
            window_collection_name="ratelimits",
        )
        self._admin_db = admin_db

    def __del__(self) -> None:
        """Leave the client alone, which the library would close."""

    def _init_mongo_client(self, uri: str | None, **options: Any) -> Any:
        return self._admin_db().client

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count, if there is room. The library takes the loser of two first attempts at once for
        one too many: what counts is the second answer, when the record is there."""
        acquire = super().acquire_entry
        return acquire(key, limit, expiry, amount) or acquire(key, limit, expiry, amount)

    @property
    def _database(self) -> Any:
        """A count that is lost in an election does no harm, so writes wait for one server only."""
        _ = self.storage  # which makes the indexes the first time
        return self._admin_db().with_options(write_concern=WriteConcern(1))


def _count(limiter: MovingWindowRateLimiter, limit: RateLimitItem, key: str) -> None:
    if not limiter.hit(limit, SCOPE, key):
        reset_at = limiter.get_window_stats(limit, SCOPE, key).reset_time
        raise RateLimited(
            "Too many logins from this address or for this email; try again later",
            retry_after=max(1, int(reset_at - time.time()) + 1),
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
