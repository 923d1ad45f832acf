"""Whether a genuine token was withdrawn."""

import threading
import time
from collections.abc import Callable

from bson import ObjectId
from lru import LRU

from multitenant.errors import TokenRevoked
from multitenant.repositories.admin.revocations import find_revocations
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.tokens import Claims
from multitenant.tenancy.tenant_cache import Vouches

CACHED_CHECKS = 10_000


class Revocations:
    """Reads the revocations of a token at most once in `stale_seconds`, and not again while
    `vouches` says that none can have been missed."""

    def __init__(
        self,
        admin_db: Callable[[], MongoDatabase],
        *,
        stale_seconds: float,
        vouches: Vouches = lambda _: False,
    ) -> None:
        self._admin_db = admin_db
        self._stale_seconds = stale_seconds
        self._vouches = vouches
        self._checked_at: LRU[str, float] = LRU(CACHED_CHECKS)
        self._generation = 0
        self._lock = threading.Lock()

    def ensure_valid(self, claims: Claims) -> None:
        """Return if neither the token, its family nor its user's tokens were withdrawn.

        Raises TokenRevoked. The own id of a refresh token is left to the refresh itself, which
        must tell its first use from the second.
        """
        now = time.monotonic()
        with self._lock:
            checked_at = self._checked_at.get(claims.id)
            generation = self._generation
        if checked_at is not None and (
            now - checked_at <= self._stale_seconds or self._vouches(checked_at)
        ):
            return
        self.ensure_valid_now(claims)
        with self._lock:
            if generation == self._generation:
                self._checked_at[claims.id] = now

    def ensure_valid_now(self, claims: Claims) -> None:
        """The same, read at this moment."""
        ids: list[str | ObjectId] = [claims.family, claims.user_id]
        if claims.type != "refresh":
            ids.append(claims.id)
        found = find_revocations(self._admin_db(), ids)
        if any(_withdraws(record, claims) for record in found):
            raise TokenRevoked()

    def forget(self) -> None:
        """Make the next use of every token read its revocations again."""
        with self._lock:
            self._generation += 1  # a check under way may have read what is no longer so
            self._checked_at.clear()


def _withdraws(record: MongoDocument, claims: Claims) -> bool:
    if record["_id"] != claims.user_id:
        return True
    return claims.version < record["version"] and claims.family != record.get("exceptFamily")
