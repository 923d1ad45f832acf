"""The error answers of a route: those that follow from its kind, and those that its view names."""

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, TypeVar

from multitenant.errors import ConfigurationError, DomainError
from multitenant.middleware.access import Access, access_of, roles_of
from multitenant.middleware.error_handlers import CODE_OF_HTTP_STATUS, STATUS_OF_CODE
from multitenant.openapi.routes import Route

View = TypeVar("View", bound=Callable[..., Any])

UNSAFE = frozenset({"post", "put", "patch", "delete"})
_REFUSALS = "__refusals__"


def refuses(*codes: str) -> Callable[[View], View]:
    """Mark a view that may answer these error codes, besides those that follow from its kind.
    Raises ConfigurationError for one that has no status."""

    def mark(view: View) -> View:
        if unknown := sorted(set(codes) - STATUS_OF_CODE.keys()):
            raise ConfigurationError(
                f"{view.__module__}.{view.__qualname__}: `{unknown[0]}` is no error code"
            )
        setattr(view, _REFUSALS, (*getattr(view, _REFUSALS, ()), *codes))
        return view

    return mark


def refusals(
    route: Route, parameters: Iterable[dict[str, Any]], schema: dict[str, Any]
) -> dict[str, Any]:
    """Return the error answers of a route with these parameters, by status; `schema` is theirs."""
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(_codes(route, {(it["in"], it["name"]) for it in parameters})):
        by_status.setdefault(STATUS_OF_CODE[code], []).append(code)
    return {
        str(status): _refusal(status, by_status[status], schema) for status in sorted(by_status)
    }


def _codes(route: Route, parameters: set[tuple[str, str]]) -> Iterator[str]:
    """The error codes that the route may answer."""
    view = route.view
    access = access_of(view)
    # Of its body, of one that it does not take, and of its query.
    yield from ("malformed_json", "payload_too_large", "unsupported_media_type")
    yield "validation_failed"
    if ("query", "cursor") in parameters:
        yield "invalid_cursor"
    if route.arguments:
        yield "not_found"
    if access is not Access.PUBLIC:
        yield from ("token_missing", "token_invalid", "token_expired", "token_revoked")
        yield from ("tenant_mismatch", "tenant_suspended", "tenant_busy", "tenant_maintenance")
        if route.method in UNSAFE:
            yield "csrf_failed"
    if access is Access.OPERATOR or roles_of(view) is not None:
        yield "role_required"
    if route.module:
        yield "module_disabled"
    yield from getattr(view, _REFUSALS, ())
    # What the database's own rules refuse, what it cannot do now, and bugs.
    yield from ("conflict", "database_unavailable", "internal_error")


def _refusal(status: int, codes: list[str], schema: dict[str, Any]) -> dict[str, Any]:
    messages = _messages()
    headers = {"X-Request-ID": "RequestId"}
    if status == 401:
        headers["WWW-Authenticate"] = "WwwAuthenticate"
    if status in (429, 503):
        headers["Retry-After"] = "RetryAfter"
    return {
        "description": "; ".join(f"`{code}`: {messages[code]}" for code in codes),
        "headers": {
            name: {"$ref": f"#/components/headers/{component}"}
            for name, component in headers.items()
        },
        "content": {
            "application/json": {
                "schema": schema,
                "examples": {code: {"value": _example(status, code)} for code in codes},
            }
        },
    }


def _example(status: int, code: str) -> dict[str, Any]:
    details: dict[str, Any] = {"code": code, "requestId": "0f3a6a1f7f1c4d7f8f4d9a4e8f9b7c11"}
    if code == "validation_failed":
        details["incorrectField"] = "name"
        details["errors"] = [{"field": "name", "message": "Field required"}]
    return {
        "success": False,
        "statusCode": status,
        "message": _messages()[code],
        "responseObject": details,
    }


@cache
def _messages() -> dict[str, str]:
    """What each code says by default."""
    messages = dict(CODE_OF_HTTP_STATUS.values())
    pending = [DomainError]
    while pending:
        error = pending.pop()
        messages[error.code] = error.default_message
        pending += error.__subclasses__()
    return messages
