"""Logging in and out, refreshing, accepting an invitation."""

from contextlib import suppress
from typing import Any

from flask import Response, request
from flask_openapi3 import APIBlueprint, Tag

from multitenant.errors import TokenExpired, TokenInvalid, TokenMissing
from multitenant.extensions import platform
from multitenant.middleware.access import public, with_refresh_token
from multitenant.middleware.database_resolver import read_tokens
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import (
    current_actor,
    current_claims,
    current_db,
    current_tenant,
    unknown_actor,
)
from multitenant.middleware.session_cookies import cookies_for
from multitenant.openapi import refuses
from multitenant.schemas.answers import Nothing, ok
from multitenant.schemas.auth import (
    AcceptedAnswer,
    InvitationAcceptance,
    Login,
    SessionAnswer,
    TenantHeader,
)
from multitenant.security.tokens import TokenType
from multitenant.tenancy.users.authentication import Session, TenantHints

blueprint = APIBlueprint("auth", __name__, url_prefix="/api", abp_tags=[Tag(name="Sessions")])
# Where a refused token means that its cookie is of no use any more.
ENDING: dict[str, TokenType] = {"auth.logout": "access", "auth.refresh": "refresh"}


@blueprint.post("/login", responses=ok(SessionAnswer))
@public
@refuses(
    "credentials_invalid",
    "tenant_suspended",
    "tenant_busy",
    "tenant_maintenance",
    "tenant_required",
    "rate_limited",
)
def login(header: TenantHeader, body: Login) -> Response:
    """Log in with email and password."""
    built = platform()
    built.login_limits.count(request.remote_addr, body.email)
    session = built.authenticator.login(
        body.email,
        body.password.get_secret_value(),
        _hints(header, body.tenant),
        unknown_actor(),
    )
    return _answer_session(session, "Logged In Successfully", in_cookies=body.use_cookies)


@blueprint.post("/refresh", responses=ok(SessionAnswer))
@with_refresh_token
@refuses("rate_limited")
def refresh() -> Response:
    """Exchange a refresh token for a new pair; each works once."""
    _, from_cookie = read_tokens(request, "refresh")
    session = platform().authenticator.refresh(
        current_claims(), current_tenant(), current_db(), current_actor()
    )
    return _answer_session(session, "Refreshed Successfully", in_cookies=from_cookie)


@blueprint.post("/logout", responses=ok(Nothing))
def logout() -> Response:
    """End this session: its access and refresh tokens are refused from now on."""
    platform().authenticator.logout(current_claims(), current_actor())
    response = answer({}, "Logged Out Successfully")
    cookies_for(request).remove(response)
    return response


@blueprint.post("/invitations/accept", responses=ok(AcceptedAnswer))
@public
@refuses(
    "token_invalid",
    "token_expired",
    "token_revoked",
    "tenant_mismatch",
    "tenant_suspended",
    "tenant_busy",
    "tenant_maintenance",
    "rate_limited",
)
def accept_invitation(header: TenantHeader, body: InvitationAcceptance) -> Response:
    """Set the first password of an invited user."""
    built = platform()
    built.login_limits.count(request.remote_addr, None)
    user = built.membership.accept_invitation(
        body.token.get_secret_value(),
        body.password.get_secret_value(),
        _hints(header),
        unknown_actor(),
    )
    return answer({"userId": str(user["_id"])}, "Invitation accepted; you can log in now")


@blueprint.after_request
def forget_dead_cookies(response: Response) -> Response:
    """Remove the cookies of a session that has ended, when its browser wants to log out or go on:
    it cannot do so itself. A request without them removes nothing; else any page could log out
    whoever looks at it. Nor does a refresh that came too late for its token: its cookie has expired
    as well, and the one that is there now is of a refresh that came in time."""
    if response.status_code == 401 and request.endpoint in ENDING and not _is_too_late(response):
        with suppress(TokenInvalid, TokenMissing):
            _, from_cookie = read_tokens(request, ENDING[request.endpoint])
            if from_cookie:
                cookies_for(request).remove(response)
    return response


def _is_too_late(response: Response) -> bool:
    """Whether it refuses a refresh token that has expired."""
    expired: bool = response.get_json()["responseObject"]["code"] == TokenExpired.code
    return expired and request.endpoint == "auth.refresh"


def _hints(header: TenantHeader, text: str | None = None) -> TenantHints:
    """All that this request says of its tenant."""
    return TenantHints(
        text=text,
        host=platform().host_names.tenant_of(request.host),
        header=header.tenant_id,
    )


def _answer_session(session: Session, message: str, *, in_cookies: bool) -> Response:
    about: dict[str, Any] = {
        "userId": str(session.user_id),
        "tenantId": str(session.tenant_id),
        "role": session.role,
    }
    pair = session.tokens
    if not in_cookies:
        about = {"accessToken": pair.access, "refreshToken": pair.refresh, **about}
        return answer(about, message)
    about |= {"csrfToken": pair.access_csrf, "refreshCsrfToken": pair.refresh_csrf}
    response = answer(about, message)
    # Both as long as the session can be renewed: an expired access token says so itself.
    cookies_for(request).set(response, pair, seconds=platform().tokens.refresh_seconds)
    return response
