"""Cookies of a session: the access and the refresh token, and the CSRF value of each.

Without COOKIE_DOMAIN they are for the host that has set them. Over HTTPS their names then begin
with `__Host-`: browsers take such a cookie from that host alone, so that no sibling host can set
one (RFC 6265bis, 4.1.3.2). With COOKIE_DOMAIN, and without HTTPS, a sibling can: then a request has
several cookies of one name, and `choose_token()` says which counts.
"""

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from flask import Flask, Request, Response, current_app

from multitenant.errors import DomainError, TokenExpired, TokenInvalid
from multitenant.extensions import platform, platform_of
from multitenant.security.tokens import Claims, TokenPair, TokenType

EXTENSION = "multitenant_session_cookies"
TOKENS: dict[TokenType, str] = {"access": "access_token_cookie", "refresh": "refresh_token_cookie"}
CSRF_VALUES: dict[TokenType, str] = {"access": "csrf_access_token", "refresh": "csrf_refresh_token"}
REFRESH_PATH = "/api/refresh"


@dataclass(frozen=True, slots=True)
class SessionCookies:
    """How the cookies are called, and for which hosts they are."""

    secure: bool
    domain: str | None

    @property
    def prefix(self) -> str:
        """What all names begin with."""
        return "__Host-" if self.secure and self.domain is None else ""

    def set(self, response: Response, pair: TokenPair, *, seconds: int) -> None:
        """Let the browser keep the pair for so many seconds."""
        values = {
            TOKENS["access"]: pair.access,
            TOKENS["refresh"]: pair.refresh,
            CSRF_VALUES["access"]: pair.access_csrf,
            CSRF_VALUES["refresh"]: pair.refresh_csrf,
        }
        for name, value in values.items():
            self._set(response, name, value, seconds)

    def remove(self, response: Response) -> None:
        """Let the browser forget all of them."""
        for name in (*TOKENS.values(), *CSRF_VALUES.values()):
            self._set(response, name, "", 0)

    def read_tokens(self, request: Request, token_type: TokenType) -> list[str]:
        """Return the tokens of that type, each once, in the browser's order."""
        values = request.cookies.getlist(self.prefix + TOKENS[token_type])
        return list(dict.fromkeys(filter(None, values)))

    def _set(self, response: Response, name: str, value: str, seconds: int) -> None:
        only_to_refresh = name == TOKENS["refresh"] and not self.prefix  # which demands `/`
        response.set_cookie(
            self.prefix + name,
            value,
            max_age=seconds,
            path=REFRESH_PATH if only_to_refresh else "/",
            domain=self.domain,
            secure=self.secure,
            httponly=name in TOKENS.values(),
            samesite="Strict",
        )


def init_app(app: Flask) -> None:
    """Configure the cookies by the settings."""
    settings = platform_of(app).settings
    app.extensions[EXTENSION] = SessionCookies(settings.production, settings.cookie_domain or None)


def cookies_for(request: Request) -> SessionCookies:
    """The cookies of the request's host. A tenant's host outside COOKIE_DOMAIN, whose browsers
    would refuse cookies of that domain, has its own."""
    cookies: SessionCookies = current_app.extensions[EXTENSION]
    if cookies.domain is None or f".{_host_name(request)}".endswith(f".{cookies.domain}"):
        return cookies
    elsewhere = platform().host_names.tenant_of(request.host).names_one
    return replace(cookies, domain=None) if elsewhere else cookies


def choose_token(
    tokens: Sequence[str],
    verify: Callable[[str], Claims],
    ensure_acceptable: Callable[[Claims], None],
    sent_csrf: str,
) -> str:
    """Return the one of several cookies of the same name that counts.

    That is the first that is genuine and acceptable; where a CSRF value was sent, the first that
    it belongs to; and of this one's session the newest. Where none is acceptable, it is one that
    tells the client best what to do: an expired token can be refreshed.
    """
    genuine: dict[str, Claims] = {}
    expired: list[str] = []
    for token in tokens:
        try:
            genuine[token] = verify(token)
        except TokenExpired:
            expired.append(token)
        except TokenInvalid:
            continue
    acceptable = {
        token: claims for token, claims in genuine.items() if _passes(ensure_acceptable, claims)
    }
    belonging = {
        token: claims for token, claims in acceptable.items() if has_csrf(claims, sent_csrf)
    }
    if candidates := belonging or acceptable:
        family = next(iter(candidates.values())).family
        of_session = [token for token, claims in candidates.items() if claims.family == family]
        return max(of_session, key=lambda token: candidates[token].issued_at)
    return next(iter([*genuine, *expired, *tokens]))


def has_csrf(claims: Claims, sent: str) -> bool:
    """Whether what was sent is the token's CSRF value."""
    return bool(claims.csrf) and hmac.compare_digest(sent.encode(), claims.csrf.encode())


def _passes(ensure_acceptable: Callable[[Claims], None], claims: Claims) -> bool:
    try:
        ensure_acceptable(claims)
    except DomainError:
        return False
    return True


def _host_name(request: Request) -> str:
    return request.host.partition(":")[0].lower().rstrip(".")
