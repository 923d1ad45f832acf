"""Tokens: issuing them, and verifying one quickly and only once.

Flask-JWT-Extended signs; it reads its configuration from the Flask application, so that runs in an
application context. PyJWT verifies, and every claim must be there and be of its type. The claims of
a verified token are kept, keyed by the whole token, since verifying a signature again cannot give
another answer; what can change (its expiry, revocations, its tenant) is checked on every use.

Tokens are dated by the clock that all processes go by (clock.py), and judged by it: this machine's
own may be wrong, and the libraries know no other, so they are not asked about time. A token's date
is that of what it says: whoever issues one takes the time before they read the user (ADR 44).
"""

import hashlib
import hmac
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import uuid4

import jwt
from bson import ObjectId
from flask import Flask
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token
from lru import LRU

from multitenant.config import Settings
from multitenant.errors import TokenExpired, TokenInvalid

ALGORITHM = "HS256"
MAX_TOKEN_LENGTH = 4096
MARGIN_SECONDS = 5
"""By how much the processes may differ all the same."""
NO_JUDGEMENT = timedelta(days=1_000_000)
MAX_CLAIM_LENGTH = 64
LAST_SECOND = 253_402_300_799
"""The end of the year 9999, after which Python knows no time."""
ROLES = frozenset({"operator", "owner", "admin", "member"})
CLAIMS = ("aud", "exp", "fam", "iat", "jti", "nbf", "role", "sub", "tenantId", "type", "ver")
"""What every token has; and `act`, where an operator acts as the user, and `csrf`."""

TokenType = Literal["access", "refresh", "invitation"]


@dataclass(frozen=True, slots=True)
class Impersonator:
    """The operator who acts as a user (the `act` claim of RFC 8693), and their own session."""

    user_id: ObjectId
    tenant_id: ObjectId
    family: str
    version: int


@dataclass(frozen=True, slots=True)
class Claims:
    """What a genuine token says."""

    type: str
    id: str
    """`jti`: of this token alone."""
    family: str
    """`fam`: shared by all tokens that descend from one login."""
    user_id: ObjectId
    tenant_id: ObjectId
    role: str
    version: int
    """`ver`: the user's token version when it was issued."""
    issued_at: int
    expires_at: int
    """Seconds since the epoch."""
    csrf: str
    impersonator: Impersonator | None = None


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a login or a refresh gives."""

    access: str
    refresh: str
    access_csrf: str
    refresh_csrf: str
    """What goes with each where a cookie carries it; the same for all pairs of a session, so that
    a tab of a browser may go on with it after another one has refreshed the session."""


class Tokens:
    """Issues and verifies the tokens of one application."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        """`now` tells the time, in seconds since the epoch."""
        self._now = now
        secrets = [key.get_secret_value() for key in settings.jwt_secret_keys]
        self._keys: dict[str, str] = {_key_id(secret): secret for secret in secrets}
        self._signing_key_id = next(iter(self._keys))
        self._audience = settings.admin_db_name
        self._access_seconds = settings.access_token_seconds
        self.refresh_seconds = settings.refresh_token_seconds
        self.invitation_seconds = settings.invitation_seconds
        self.impersonation_seconds = settings.impersonation_seconds
        # Without a callback, so one lock will do.
        self._verified: LRU[str, Claims] = LRU(settings.token_cache_size)
        self._lock = threading.Lock()

    @property
    def longest_life(self) -> timedelta:
        """After this time no token of a session that was issued until now is valid, unless it was
        under other settings."""
        return timedelta(
            seconds=max(self._access_seconds, self.refresh_seconds, self.impersonation_seconds)
        )

    def present(self) -> int:
        """The present second, to date tokens with what is read from now on."""
        return int(self._now())

    def init_app(self, app: Flask) -> None:
        """Configure Flask-JWT-Extended for this application."""
        app.config.update(
            JWT_ALGORITHM=ALGORITHM,
            JWT_ENCODE_AUDIENCE=self._audience,
            JWT_DECODE_AUDIENCE=self._audience,
            JWT_DECODE_LEEWAY=NO_JUDGEMENT,
            JWT_ENCODE_NBF=False,
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=self._access_seconds),
            JWT_REFRESH_TOKEN_EXPIRES=timedelta(seconds=self.refresh_seconds),
        )
        manager = JWTManager(app)
        manager.encode_key_loader(lambda identity: self._keys[self._signing_key_id])

    def issue_pair(
        self,
        *,
        user_id: ObjectId,
        tenant_id: ObjectId,
        role: str,
        version: int,
        family: str | None,
        read_at: int | None = None,
    ) -> TokenPair:
        """Issue an access and a refresh token; without `family` they start a new one. They count
        from `read_at`, when the user was read; by default from now."""
        family = family or uuid4().hex
        claims = {"tenantId": str(tenant_id), "role": role, "ver": version, "fam": family}
        access_csrf, refresh_csrf = self._csrf("access", family), self._csrf("refresh", family)
        headers = {"kid": self._signing_key_id}
        return TokenPair(
            access=create_access_token(
                str(user_id),
                additional_claims={
                    **claims,
                    **self._dates(self._access_seconds, read_at),
                    "csrf": access_csrf,
                },
                additional_headers=headers,
            ),
            refresh=create_refresh_token(
                str(user_id),
                additional_claims={
                    **claims,
                    **self._dates(self.refresh_seconds, read_at),
                    "csrf": refresh_csrf,
                },
                additional_headers=headers,
            ),
            access_csrf=access_csrf,
            refresh_csrf=refresh_csrf,
        )

    def issue_impersonation(
        self,
        operator: Claims,
        *,
        user_id: ObjectId,
        tenant_id: ObjectId,
        role: str,
        version: int,
        read_at: int | None = None,
    ) -> str:
        """Issue a short access token of the user for the operator; nothing refreshes it. It dies
        with the operator's session, too. `read_at` is as above."""
        token: str = create_access_token(
            str(user_id),
            additional_claims={
                **self._dates(self.impersonation_seconds, read_at),
                "tenantId": str(tenant_id),
                "role": role,
                "ver": version,
                "fam": uuid4().hex,
                "act": {
                    "sub": str(operator.user_id),
                    "tenantId": str(operator.tenant_id),
                    "fam": operator.family,
                    "ver": operator.version,
                },
            },
            additional_headers={"kid": self._signing_key_id},
        )
        return token

    def issue_invitation(
        self,
        *,
        user_id: ObjectId,
        tenant_id: ObjectId,
        role: str,
        invitation_id: str,
        invited_at: datetime,
        seconds: int | None = None,
    ) -> str:
        """Issue the token with which an invited user sets their first password; it lives for so
        many seconds, or as long as the settings say.

        The same arguments give the same token, so it need not be stored to be told again.
        """
        start = int(invited_at.timestamp())
        token: str = create_access_token(
            str(user_id),
            additional_claims={
                "type": "invitation",
                "tenantId": str(tenant_id),
                "role": role,
                "ver": 0,
                "fam": invitation_id,
                "jti": invitation_id,
                "iat": start,
                "nbf": start,
                "exp": start + (seconds or self.invitation_seconds),
                "csrf": "",
            },
            additional_headers={"kid": self._signing_key_id},
        )
        return token

    def verify(self, token: str, token_type: TokenType) -> Claims:
        """Return the claims of a genuine token of that type that has not expired.

        Raises TokenInvalid and TokenExpired.
        """
        with self._lock:
            claims = self._verified.get(token)
        if claims is None:
            claims = self._decode(token)
            with self._lock:
                self._verified[token] = claims
        if claims.type != token_type:
            raise TokenInvalid(f"This needs a token of type {token_type}")
        if claims.expires_at <= self._now():
            raise TokenExpired()
        return claims

    def _dates(self, seconds: int, start: int | None) -> dict[str, int]:
        """The claims of a token that is good for so long from the start, or from now."""
        start = self.present() if start is None else start
        return {"iat": start, "nbf": start, "exp": start + seconds}

    def _csrf(self, token_type: TokenType, family: str) -> str:
        """The CSRF value of a session's tokens of that type, which only the platform can make."""
        key = self._keys[self._signing_key_id].encode()
        text = f"csrf {token_type} {family}"
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()[:32]

    def _decode(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenInvalid()
        try:
            decoded = jwt.decode(
                token,
                self._key_of(token),
                algorithms=[ALGORITHM],
                audience=self._audience,
                options={
                    "require": list(CLAIMS),
                    "strict_aud": True,
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                },
            )
            begins = max(_number(decoded, "nbf"), _number(decoded, "iat"))
            if begins > self._now() + MARGIN_SECONDS:
                raise TokenInvalid("The token is not valid yet")
            return _claims(decoded)
        except (jwt.PyJWTError, KeyError, TypeError, ValueError) as error:
            raise TokenInvalid() from error

    def _key_of(self, token: str) -> str:
        """The key that the token's header names; raises what is caught above."""
        return self._keys[jwt.get_unverified_header(token)["kid"]]


def _claims(decoded: dict[str, Any]) -> Claims:
    """Read a decoded token; raises KeyError, TypeError or ValueError where it is not ours."""
    role = _text(decoded, "role")
    if role not in ROLES:
        raise ValueError("unknown role")
    act = decoded.get("act")
    return Claims(
        type=_text(decoded, "type"),
        id=_text(decoded, "jti"),
        family=_text(decoded, "fam"),
        user_id=_id(decoded, "sub"),
        tenant_id=_id(decoded, "tenantId"),
        role=role,
        version=_number(decoded, "ver"),
        issued_at=_number(decoded, "iat"),
        expires_at=_number(decoded, "exp"),
        csrf=_text(decoded, "csrf") if "csrf" in decoded else "",
        impersonator=None if act is None else _impersonator(act),
    )


def _impersonator(act: dict[str, Any]) -> Impersonator:
    return Impersonator(
        _id(act, "sub"), _id(act, "tenantId"), _text(act, "fam"), _number(act, "ver")
    )


def _text(claims: dict[str, Any], name: str) -> str:
    value = claims[name]
    if not isinstance(value, str) or len(value) > MAX_CLAIM_LENGTH:
        raise ValueError(f"{name} is no text, or too long a one")
    return value


def _id(claims: dict[str, Any], name: str) -> ObjectId:
    value = _text(claims, name)
    if not re.fullmatch("[0-9a-f]{24}", value):
        raise ValueError(f"{name} is no id")
    return ObjectId(value)


def _number(claims: dict[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int or not 0 <= value <= LAST_SECOND:
        raise ValueError(f"{name} is no number, or out of range")
    return value


def expiry(claims: Claims) -> datetime:
    """When the token expires, for records that need to live as long."""
    return datetime.fromtimestamp(claims.expires_at, UTC)


def _key_id(secret: str) -> str:
    """A name for a signing key that says nothing about it."""
    return hmac.new(secret.encode(), b"kid", hashlib.sha256).hexdigest()[:16]
