"""Whether a genuine token was withdrawn."""

from collections.abc import Callable

from bson import ObjectId

from multitenant.errors import TokenRevoked
from multitenant.repositories.admin.revocations import find_revocations
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.tokens import Claims
from multitenant.tenancy.recent_answers import RecentAnswers

CACHED_CHECKS = 10_000


class Revocations:
    """Checks tokens, each as seldom as `recent` allows."""

    def __init__(
        self, admin_db: Callable[[], MongoDatabase], recent: RecentAnswers[str, None]
    ) -> None:
        self._admin_db = admin_db
        self._recent = recent

    def ensure_valid(self, claims: Claims) -> None:
        """Return if neither the token, its family nor its user's tokens were withdrawn.

        Raises TokenRevoked. The own id of a refresh token is left to the refresh itself, which
        must tell its first use from the second.
        """
        self._recent.get(claims.id, lambda: self.ensure_valid_now(claims))

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
        self._recent.forget()


def _withdraws(record: MongoDocument, claims: Claims) -> bool:
    if record["_id"] != claims.user_id:
        return True
    return claims.version < record["version"] and claims.family != record.get("exceptFamily")
