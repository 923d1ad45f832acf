"""The hook that turns a token into a tenant's database.

Deny by default: whatever view a request reaches, unless it is marked public, this ran first and
put `g.claims`, `g.tenant`, `g.user` and `g.db` in place, or refused.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from bson import ObjectId
from flask import Flask, Request, g, request

from multitenant.errors import (
    CsrfFailed,
    RoleRequired,
    TenantMaintenance,
    TenantMismatch,
    TokenInvalid,
    TokenMissing,
)
from multitenant.extensions import Platform, platform
from multitenant.logs import add_log_context
from multitenant.middleware.access import Access, access_of, module_of, roles_of
from multitenant.middleware.request_context import CurrentUser
from multitenant.middleware.session_cookies import choose_token, cookies_for, has_csrf
from multitenant.middleware.strict_json import StrictRequest
from multitenant.repositories.model import MongoDatabase
from multitenant.security.tokens import Claims, TokenType
from multitenant.tenancy.deployments.isolation import clear_scope, set_scope
from multitenant.tenancy.deployments.write_permission import (
    WritePermission,
    ensure_write_permitted,
    set_write_permission,
)
from multitenant.tenancy.routing.leases import Lease
from multitenant.tenancy.routing.tenant import Tenant

View = Callable[..., Any]

TENANT_HEADER = "X-Tenant-Id"
CSRF_HEADER = "X-CSRF-TOKEN"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def init_app(app: Flask) -> None:
    """Run the hook before every request, and give the lease back after each."""

    @app.before_request
    def resolve_database() -> None:
        set_scope(platform().settings.admin_db_name)
        view = requested_view(app)
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
        set_write_permission(None)
        clear_scope()


def requested_view(app: Flask) -> View | None:
    """The view that this request reaches; None where it reaches none, so that 404 and 405 are
    answered as such, and where Flask itself answers OPTIONS."""
    rule = request.url_rule
    if rule is None or request.endpoint is None:
        return None
    if request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
        return None
    return app.view_functions[request.endpoint]


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a request asks for: by whose token, of which module, and whether to read or write."""

    token: str
    token_type: TokenType
    claims: Claims
    module: str | None
    for_reading: bool

    def ensure_permitted(self, tenant: Tenant, ensure_valid: Callable[[Claims], None]) -> None:
        """Check tenant status, user and module, in this order."""
        tenant.ensure_usable(for_reading=self.for_reading)
        ensure_valid(self.claims)
        if (self.claims.role == "operator") != tenant.system:
            raise TokenInvalid()
        if self.module is not None:
            tenant.ensure_has_module(self.module)

    def ensure_still_permitted(self, built: Platform, lease: Lease) -> None:
        """Check them once more, and that the tenant has not moved, nor lost its database: before a
        write as they are at this moment, before a read as for a request that begins now."""
        tenant = lease.tenant
        built.tokens.verify(self.token, self.token_type)
        if self.for_reading:
            now = built.connections.current_tenant(tenant.id)
            ensure_valid = built.revocations.ensure_valid
        else:
            now = built.connections.read_tenant(tenant.id)
            ensure_valid = built.revocations.ensure_valid_now
        if (now.db_name, now.cluster) != (tenant.db_name, tenant.cluster):
            raise TenantMaintenance("This tenant has just moved; try again", retry_after=1)
        self.ensure_permitted(now, ensure_valid)
        self.database_of(lease)

    def database_of(self, lease: Lease) -> MongoDatabase:
        """The tenant's database, which was seen to be its own not long ago."""
        return lease.database_to_read if self.for_reading else lease.database


def _resolve(access: Access, roles: frozenset[str] | None, module: str | None) -> None:
    """Check, in this order: token, tenant hints, load, lease, tenant status, user, module, role.

    Between the hints and the rest the body arrives, which may take seconds. What was withdrawn in
    that time refuses the request, and what is withdrawn later its writes.
    """
    built = platform()
    token_type: TokenType = "refresh" if access is Access.REFRESH else "access"
    tokens, from_cookie = read_tokens(request, token_type)
    token = tokens[0] if len(tokens) == 1 else _choose_cookie(tokens, token_type)
    claims = built.tokens.verify(token, token_type)
    asked = _Asked(token, token_type, claims, module, request.method in SAFE_METHODS)
    if from_cookie and not asked.for_reading:
        _ensure_csrf_header(claims)
    _ensure_hints_agree(claims)
    built.concurrency.enter(claims.tenant_id)
    g.counted_tenant = claims.tenant_id
    if not asked.for_reading or cast(StrictRequest, request).has_body:
        cast(StrictRequest, request).receive()
        built.tokens.verify(token, token_type)  # it may have expired meanwhile
    checked_at = time.monotonic()
    lease = g.lease = built.connections.lease(claims.tenant_id)
    tenant = lease.tenant
    add_log_context(tenantId=str(tenant.id), userId=str(claims.user_id))
    if claims.impersonator:
        add_log_context(impersonatorId=str(claims.impersonator.user_id))
    asked.ensure_permitted(tenant, built.revocations.ensure_valid)
    _ensure_role(claims, access, roles)
    still_permitted = partial(asked.ensure_still_permitted, built, lease)
    set_write_permission(WritePermission(tenant.db_name, still_permitted, checked_at))
    if access is Access.TENANT and asked.for_reading:
        # Not for operators, who ask many databases.
        lease.wait_in_line()
        ensure_write_permitted()  # or to read, after a wait
    set_scope(built.settings.admin_db_name, tenant.db_name)
    g.claims = claims
    g.tenant = tenant
    g.user = CurrentUser(id=claims.user_id, role=claims.role)
    g.db = asked.database_of(lease)


def _ensure_role(claims: Claims, access: Access, roles: frozenset[str] | None) -> None:
    if access is Access.OPERATOR and claims.role != "operator":
        raise RoleRequired("Only operators may do this")
    if roles is not None and claims.role != "operator" and claims.role not in roles:
        raise RoleRequired(f"Only these roles may do this: {', '.join(sorted(roles))}")


def read_tokens(request: Request, token_type: TokenType) -> tuple[list[str], bool]:
    """Return the request's token and whether it came in a cookie, of which there may be several.

    `Authorization: Bearer` counts first, then the header `jwt`, then the cookie. Raises
    TokenMissing, and TokenInvalid for an Authorization header of another form.
    """
    if authorization := request.headers.get("Authorization"):
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise TokenInvalid("The Authorization header must be 'Bearer <token>'")
        return [token.strip()], False
    if token := request.headers.get("jwt", "").strip():
        return [token], False
    if tokens := cookies_for(request).read_tokens(request, token_type):
        return tokens, True
    raise TokenMissing()


def _choose_cookie(tokens: list[str], token_type: TokenType) -> str:
    """The token that counts, where another host has set a cookie of the same name."""
    built = platform()

    def ensure_acceptable(claims: Claims) -> None:
        _ensure_hints_agree(claims)
        built.revocations.ensure_valid(claims)

    return choose_token(
        tokens,
        lambda token: built.tokens.verify(token, token_type),
        ensure_acceptable,
        request.headers.get(CSRF_HEADER, ""),
    )


def _ensure_csrf_header(claims: Claims) -> None:
    if not has_csrf(claims, request.headers.get(CSRF_HEADER, "")):
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
