"""The hook that turns a token into a tenant's database.

Deny by default: whatever view a request reaches, unless it is marked public, this ran first and
put `g.claims`, `g.tenant`, `g.user` and `g.db` in place, or refused.
"""

import hmac
from collections.abc import Callable
from typing import Any

from bson import ObjectId
from flask import Flask, Request, g, request

from multitenant.errors import CsrfFailed, RoleRequired, TenantMismatch, TokenInvalid, TokenMissing
from multitenant.extensions import platform
from multitenant.logs import add_log_context
from multitenant.middleware.access import Access, access_of, module_of, roles_of
from multitenant.middleware.request_context import CurrentUser
from multitenant.security.tokens import Claims, TokenType
from multitenant.tenancy.deployments.isolation import clear_scope, set_scope
from multitenant.tenancy.routing.leases import Lease

View = Callable[..., Any]

TENANT_HEADER = "X-Tenant-Id"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
COOKIES: dict[TokenType, str] = {
    "access": "access_token_cookie",
    "refresh": "refresh_token_cookie",
}


def init_app(app: Flask) -> None:
    """Run the hook before every request, and give the lease back after each."""

    @app.before_request
    def resolve_database() -> None:
        set_scope(platform().settings.admin_db_name)
        view = _view(app)
        if view is not None and access_of(view) is not Access.PUBLIC:
            module = module_of(app.blueprints.get(request.blueprint or ""))
            _resolve(access_of(view), roles_of(view), module)

    @app.teardown_request
    def give_lease_back(_: BaseException | None) -> None:
        lease: Lease | None = g.pop("lease", None)
        if lease is not None:
            lease.release()
        counted: ObjectId | None = g.pop("counted_tenant", None)
        if counted is not None:
            platform().concurrency.leave(counted)
        clear_scope()


def _view(app: Flask) -> View | None:
    """The view that this request reaches; None where it reaches none, so that 404 and 405 are
    answered as such, and where Flask itself answers OPTIONS."""
    rule = request.url_rule
    if rule is None or request.endpoint is None:
        return None
    if request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
        return None
    return app.view_functions[request.endpoint]


def _resolve(access: Access, roles: frozenset[str] | None, module: str | None) -> None:
    """Check, in this order: token, tenant hints, load, lease, tenant status, user, module, role."""
    built = platform()
    token_type: TokenType = "refresh" if access is Access.REFRESH else "access"
    token, from_cookie = read_token(request, token_type)
    claims = built.tokens.verify(token, token_type)
    if from_cookie and request.method not in SAFE_METHODS:
        _ensure_csrf_header(claims)
    _ensure_hints_agree(claims)
    built.concurrency.enter(claims.tenant_id)
    g.counted_tenant = claims.tenant_id
    lease = g.lease = built.connections.lease(claims.tenant_id)
    tenant = lease.tenant
    add_log_context(tenantId=str(tenant.id), userId=str(claims.user_id))
    if claims.impersonator:
        add_log_context(impersonatorId=str(claims.impersonator.user_id))
    reads = request.method in SAFE_METHODS
    tenant.ensure_usable(for_reading=reads)
    built.revocations.ensure_valid(claims)
    if (claims.role == "operator") != tenant.system:
        raise TokenInvalid()
    if module is not None:
        tenant.ensure_has_module(module)
    if access is Access.OPERATOR and claims.role != "operator":
        raise RoleRequired("Only operators may do this")
    if roles is not None and claims.role != "operator" and claims.role not in roles:
        raise RoleRequired(f"Only these roles may do this: {', '.join(sorted(roles))}")
    if access is Access.TENANT and reads:
        # Not with a body, which may be slow to come, nor for operators, who ask many databases.
        lease.wait_in_line()
    set_scope(built.settings.admin_db_name, tenant.db_name)
    g.claims = claims
    g.tenant = tenant
    g.user = CurrentUser(id=claims.user_id, role=claims.role)
    g.db = lease.database_to_read if reads else lease.database


def read_token(request: Request, token_type: TokenType) -> tuple[str, bool]:
    """Return the request's token and whether it came in a cookie.

    `Authorization: Bearer` counts first, then the header `jwt`, then the cookie. Raises
    TokenMissing, and TokenInvalid for an Authorization header of another form.
    """
    if authorization := request.headers.get("Authorization"):
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenInvalid("The Authorization header must be 'Bearer <token>'")
        return token.strip(), False
    if token := request.headers.get("jwt", "").strip():
        return token, False
    if token := request.cookies.get(COOKIES[token_type], ""):
        return token, True
    raise TokenMissing()


def _ensure_csrf_header(claims: Claims) -> None:
    sent = request.headers.get("X-CSRF-TOKEN", "")
    if not claims.csrf or not hmac.compare_digest(sent.encode(), claims.csrf.encode()):
        raise CsrfFailed(
            f"Send the value of the csrf_{claims.type}_token cookie in the X-CSRF-TOKEN header"
        )


def _ensure_hints_agree(claims: Claims) -> None:
    """The token decides which tenant is meant; nothing else may name another one."""
    header = request.headers.get(TENANT_HEADER)
    if header is not None and header.lower() != str(claims.tenant_id):
        raise TenantMismatch()
    host = platform().host_names.tenant_of(request.host)
    if host.names_one and host.tenant_id != claims.tenant_id:
        raise TenantMismatch()
