"""Withdrawing the tokens of sessions and users, for as long as any of them may be in force.

A withdrawal must outlive every token that it is about, also those that were issued while the
settings allowed them a longer life. So each process records for how long it issues tokens, and
withdrawals are kept for the longest life on record (see docs/adr/0034).
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from bson import ObjectId

from multitenant.repositories.admin import revocations, token_lives
from multitenant.repositories.model import MongoDatabase, utc_now

MARGIN = timedelta(hours=1)
"""How much longer than any token its withdrawal is kept: a login under way may still issue one,
and clocks differ."""
RECORD_AGAIN = timedelta(hours=1)
NEVER = float("-inf")


class Withdrawals:
    """Writes withdrawals to the admin database. Who commits one makes Revocations forget its key
    afterwards."""

    def __init__(self, admin_db: Callable[[], MongoDatabase], longest_life: timedelta) -> None:
        """`longest_life` is that of the tokens that this process issues."""
        self._admin_db = admin_db
        self._longest_life = longest_life
        self._recorded_at = NEVER

    def record_token_life(self) -> None:
        """Make sure that the life of this process's tokens is on record. To be called before one is
        issued; writes once an hour."""
        now = time.monotonic()
        if now - self._recorded_at > RECORD_AGAIN.total_seconds():
            expires_at = utc_now() + self._longest_life + RECORD_AGAIN + MARGIN
            token_lives.upsert_token_life(self._admin_db(), self._longest_life, expires_at)
            self._recorded_at = now

    def expiry(self) -> datetime:
        """Until when a withdrawal of this moment must be kept."""
        now = utc_now()
        recorded = token_lives.longest_token_life(self._admin_db(), now)
        return now + max(recorded, self._longest_life) + MARGIN

    def end_session(self, family: str) -> None:
        """Withdraw all tokens of one login."""
        revocations.upsert_family_revocation(self._admin_db(), family, self.expiry())

    def end_sessions(
        self,
        tenant_id: ObjectId,
        user_id: ObjectId,
        version: int,
        *,
        except_family: str | None = None,
    ) -> bool:
        """Withdraw the user's tokens of versions below `version`, but those of one login; return
        whether they were not withdrawn before."""
        return revocations.upsert_user_revocation(
            self._admin_db(),
            tenant_id,
            user_id,
            version=version,
            except_family=except_family,
            expires_at=self.expiry(),
        )
