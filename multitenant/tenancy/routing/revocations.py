"""Whether a genuine token was withdrawn."""

from collections.abc import Callable
from datetime import datetime

from multitenant.errors import TokenRevoked
from multitenant.repositories.admin.revocations import find_revocations, tenant_key, user_key
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.tokens import Claims
from multitenant.tenancy.routing.recent_answers import RecentAnswers

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

    def ensure_valid_now(self, claims: Claims, token_version: int = 0) -> None:
        """The same, read at this moment. `token_version` is what the user's own record says: a
        token below it needs a revocation that excepts its family, since the process that was to
        write one may have ended before it did."""
        ids = [claims.family, user_key(claims.tenant_id, claims.user_id)]
        ids.append(tenant_key(claims.tenant_id))
        if claims.type != "refresh":
            ids.append(claims.id)
        if operator := claims.impersonator:
            ids += [operator.family, user_key(operator.tenant_id, operator.user_id)]
            ids.append(tenant_key(operator.tenant_id))
        found = find_revocations(self._admin_db(), ids)
        if any(_withdraws(record, claims) for record in found):
            raise TokenRevoked()
        excepted = any(record.get("exceptFamily") == claims.family for record in found)
        if claims.version < token_version and not excepted:
            raise TokenRevoked()

    def forget(self) -> None:
        """Make the next use of every token read its revocations again."""
        self._recent.forget()


def _withdraws(record: MongoDocument, claims: Claims) -> bool:
    """Whether the record, which is about this token, says that it is void. A record of a user
    is about the tokens of older versions only, and so is one of a tenant."""
    for session in (claims, claims.impersonator):
        if session and record["_id"] == tenant_key(session.tenant_id):
            issued_until: datetime = record["issuedUntil"]
            in_time = claims.issued_at <= issued_until.timestamp()
            return session.version < record["version"] and in_time
        if session and record["_id"] == user_key(session.tenant_id, session.user_id):
            return session.version < record["version"] and session.family != record.get(
                "exceptFamily"
            )
    return True
