"""Whether a genuine token was withdrawn."""

from collections.abc import Callable, Mapping
from datetime import datetime

from multitenant.errors import TokenRevoked
from multitenant.repositories.admin.revocations import find_revocations, tenant_key, user_key
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.tokens import Claims
from multitenant.tenancy.routing.recent_answers import RecentAnswers


class Revocations:
    """Checks tokens: what withdraws them is read as seldom as `recent` allows, by the key of each
    record, so that a session that ends costs nobody else a read."""

    def __init__(
        self,
        admin_db: Callable[[], MongoDatabase],
        recent: RecentAnswers[str, MongoDocument | None],
    ) -> None:
        self._admin_db = admin_db
        self._recent = recent

    def ensure_valid(self, claims: Claims) -> None:
        """Return if neither the token, its family nor its user's tokens were withdrawn.

        Raises TokenRevoked. The own id of a refresh token is left to the refresh itself, which
        must tell its first use from the second.
        """
        _ensure_none_withdraws(self._recent.get_all(_keys(claims), self._read), claims)

    def ensure_valid_now(self, claims: Claims, user: MongoDocument | None = None) -> None:
        """The same, read at this moment. `user` is the user's own record: it may have ended a token
        of which no revocation tells, since the process that was to write one may have ended before
        it did. What it excepts, it excepts from the newest version."""
        found = self._read(_keys(claims))
        _ensure_none_withdraws(found, claims)
        if user is None or claims.version >= user["tokenVersion"]:
            return
        known = found[user_key(claims.tenant_id, claims.user_id)] or {}
        told = known.get("version", 0) >= user["tokenVersion"]
        if claims.family not in (user.get("exceptFamily"), told and known.get("exceptFamily")):
            raise TokenRevoked()

    def forget(self, key: str | None = None) -> None:
        """Read the record of this key again before the next token that it is about; without a key,
        all records."""
        self._recent.forget(key)

    def _read(self, keys: list[str]) -> dict[str, MongoDocument | None]:
        found = {record["_id"]: record for record in find_revocations(self._admin_db(), keys)}
        return {key: found.get(key) for key in keys}


def _keys(claims: Claims) -> list[str]:
    """The keys of all records that could withdraw the token."""
    keys = []
    for session in (claims, claims.impersonator):
        if session:
            keys += [session.family, user_key(session.tenant_id, session.user_id)]
            keys.append(tenant_key(session.tenant_id))
    if claims.type != "refresh":
        keys.append(claims.id)
    return keys


def _ensure_none_withdraws(records: Mapping[str, MongoDocument | None], claims: Claims) -> None:
    if any(record and _withdraws(record, claims) for record in records.values()):
        raise TokenRevoked()


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
