"""Tokens: issuing them, and verifying one quickly and only once.

Flask-JWT-Extended signs and decodes; it reads its configuration from the Flask application, so
these run in an application context. The claims of a verified token are kept, keyed by the whole
token, since verifying a signature again cannot give another answer; what can change (its
expiry, revocations, its tenant) is checked on every use.

Tokens are dated by the clock that all processes go by (clock.py), and judged by it: this machine's
own may be wrong, and the libraries know no other, so they are not asked about time.
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
from flask_jwt_extended import JWTManager, create_access_token, create_refresh_token, decode_token
from flask_jwt_extended.exceptions import JWTExtendedException
from lru import LRU

from multitenant.config import Settings
from multitenant.errors import TokenExpired, TokenInvalid

ALGORITHM = "HS256"
MAX_TOKEN_LENGTH = 4096
CACHED_TOKENS = 10_000
MARGIN_SECONDS = 5
"""By how much the processes may differ all the same."""
NO_JUDGEMENT = timedelta(days=1_000_000)
ROLES = frozenset({"operator", "owner", "admin", "member"})

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


class Tokens:
    """Issues and verifies the tokens of one application."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        """`now` tells the time, in seconds since the epoch."""
        self._now = now
        secrets = [key.get_secret_value() for key in settings.jwt_secret_keys]
        self._keys: dict[str, str] = {_key_id(secret): secret for secret in secrets}
        self._signing_key_id = next(iter(self._keys))
        self._access_seconds = settings.access_token_seconds
        self.refresh_seconds = settings.refresh_token_seconds
        self._invitation_seconds = settings.invitation_seconds
        self.impersonation_seconds = settings.impersonation_seconds
        self._verified: LRU[str, Claims] = LRU(CACHED_TOKENS)  # no callback: see lru-dict's lock
        self._lock = threading.Lock()

    @property
    def longest_life(self) -> timedelta:
        """After this time no token that exists now is valid."""
        return timedelta(seconds=max(self._access_seconds, self.refresh_seconds))

    def init_app(self, app: Flask, *, secure_cookies: bool) -> None:
        """Configure Flask-JWT-Extended for this application."""
        app.config.update(
            JWT_ALGORITHM=ALGORITHM,
            JWT_DECODE_ALGORITHMS=[ALGORITHM],
            JWT_DECODE_LEEWAY=NO_JUDGEMENT,
            JWT_ENCODE_NBF=False,
            JWT_ACCESS_TOKEN_EXPIRES=timedelta(seconds=self._access_seconds),
            JWT_REFRESH_TOKEN_EXPIRES=timedelta(seconds=self.refresh_seconds),
            JWT_TOKEN_LOCATION=["headers", "cookies"],
            JWT_COOKIE_SECURE=secure_cookies,
            JWT_COOKIE_SAMESITE="Strict",
            JWT_REFRESH_COOKIE_PATH="/api/refresh",
            JWT_SESSION_COOKIE=False,
        )
        manager = JWTManager(app)
        manager.encode_key_loader(lambda identity: self._keys[self._signing_key_id])
        manager.decode_key_loader(self._key_of)

    def issue_pair(
        self, *, user_id: ObjectId, tenant_id: ObjectId, role: str, version: int, family: str | None
    ) -> TokenPair:
        """Issue an access and a refresh token; without `family` they start a new one."""
        claims = {
            "tenantId": str(tenant_id),
            "role": role,
            "ver": version,
            "fam": family or uuid4().hex,
        }
        headers = {"kid": self._signing_key_id}
        return TokenPair(
            access=create_access_token(
                str(user_id),
                additional_claims=claims | self._dates(self._access_seconds),
                additional_headers=headers,
            ),
            refresh=create_refresh_token(
                str(user_id),
                additional_claims=claims | self._dates(self.refresh_seconds),
                additional_headers=headers,
            ),
        )

    def issue_impersonation(
        self, operator: Claims, *, user_id: ObjectId, tenant_id: ObjectId, role: str, version: int
    ) -> str:
        """Issue a short access token of the user for the operator; nothing refreshes it. It dies
        with the operator's session, too."""
        token: str = create_access_token(
            str(user_id),
            additional_claims={
                **self._dates(self.impersonation_seconds),
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
    ) -> str:
        """Issue the token with which an invited user sets their first password.

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
                "exp": start + self._invitation_seconds,
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

    def _dates(self, seconds: int) -> dict[str, int]:
        """The claims of a token that is good for so long from now."""
        now = int(self._now())
        return {"iat": now, "exp": now + seconds}

    def _decode(self, token: str) -> Claims:
        if len(token) > MAX_TOKEN_LENGTH:
            raise TokenInvalid()
        try:
            decoded = decode_token(token)
            if int(decoded.get("nbf", 0)) > self._now() + MARGIN_SECONDS:
                raise TokenInvalid("The token is not valid yet")
            return _claims(decoded)
        except jwt.ExpiredSignatureError as error:
            raise TokenExpired() from error
        except (jwt.PyJWTError, JWTExtendedException, KeyError, TypeError, ValueError) as error:
            raise TokenInvalid() from error

    def _key_of(self, header: dict[str, Any], payload: dict[str, Any]) -> str:
        key_id = str(header.get("kid"))
        if key_id not in self._keys:
            raise jwt.InvalidTokenError("unknown key id")
        return self._keys[key_id]


def _claims(decoded: dict[str, Any]) -> Claims:
    """Read a decoded token; raises KeyError, TypeError or ValueError where it is not ours."""
    ids = (decoded["sub"], decoded["tenantId"])
    if not all(isinstance(text, str) and re.fullmatch("[0-9a-f]{24}", text) for text in ids):
        raise ValueError("sub and tenantId must be ids")
    if decoded["role"] not in ROLES:
        raise ValueError("unknown role")
    return Claims(
        type=str(decoded["type"]),
        id=str(decoded["jti"]),
        family=str(decoded["fam"]),
        user_id=ObjectId(ids[0]),
        tenant_id=ObjectId(ids[1]),
        role=decoded["role"],
        version=int(decoded["ver"]),
        issued_at=int(decoded["iat"]),
        expires_at=int(decoded["exp"]),
        csrf=str(decoded.get("csrf", "")),
        impersonator=_impersonator(decoded.get("act")),
    )


def _impersonator(act: dict[str, Any] | None) -> Impersonator | None:
    if act is None:
        return None
    return Impersonator(
        ObjectId(act["sub"]), ObjectId(act["tenantId"]), str(act["fam"]), int(act["ver"])
    )


def expiry(claims: Claims) -> datetime:
    """When the token expires, for records that need to live as long."""
    return datetime.fromtimestamp(claims.expires_at, UTC)


def _key_id(secret: str) -> str:
    """A name for a signing key that says nothing about it."""
    return hmac.new(secret.encode(), b"kid", hashlib.sha256).hexdigest()[:16]
