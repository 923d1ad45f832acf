"""Uses of refresh tokens: each works once, within a grace again, and later betrays a thief.

See docs/adr/0034 for the two steps of a use.
"""

import logging
from collections.abc import Callable
from datetime import timedelta

import pymongo
from pymongo.errors import PyMongoError

from multitenant.repositories.admin import revocations
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.security.tokens import Claims, expiry

logger = logging.getLogger(__name__)

FINISH_SECONDS = 2.0
"""For recording that a use is answered, at most."""


class RefreshUses:
    """Records which refresh tokens were used, and when the client was answered."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], *, grace_seconds: float) -> None:
        """For `grace_seconds` after a token was exchanged, it may be once more. That is recorded
        then: another grace is for tokens that are used later."""
        self._admin_db = admin_db
        self._grace = timedelta(seconds=grace_seconds)

    def allow(self, claims: Claims) -> bool:
        """Record that the token is used; return whether it may be. It may not, where another use
        was answered longer ago than the grace. One that could not be answered is held against
        nobody. Raises PyMongo's errors, and then the use is not answered."""
        earlier = revocations.begin_use(self._admin_db(), claims.id, expiry(claims))
        return not _is_too_late(earlier) and not _is_too_late(self._finish(claims))

    def _finish(self, claims: Claims) -> MongoDocument | None:
        """Record that the use is about to be answered; return the record of another use that was
        before.

        Where that fails, the client is answered all the same. It is not certain what is recorded
        then, so refusing them could make a thief of them when they come again.
        """
        try:
            with pymongo.timeout(FINISH_SECONDS):
                return revocations.finish_use(
                    self._admin_db(), claims.id, expiry(claims), utc_now() + self._grace
                )
        except PyMongoError as error:
            logger.warning("The use of a refresh token stays open: %s", type(error).__name__)
            return None


def _is_too_late(earlier: MongoDocument | None) -> bool:
    """Whether the earlier use was answered longer ago than the grace of that time. (Records of the
    release before have none.)"""
    if earlier is None or earlier.get("unanswered"):
        return False
    reusable_until = earlier.get("reusableUntil")
    return reusable_until is None or utc_now() >= reusable_until
