"""The OpenAPI document: what flask-openapi3 collects from the views, and what their marks say.

The success of each route is declared with it (`responses=ok(…)`). Its refusals follow from what it
is: who may call it, whether it has a body, a path, a cursor. Views name only those of their own,
with `@refuses`.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, TypeVar

from flask_openapi3 import OpenAPI
from pydantic.alias_generators import to_camel

from multitenant.errors import DomainError
from multitenant.middleware.access import Access, access_of, module_of, roles_of
from multitenant.middleware.error_handlers import CODE_OF_HTTP_STATUS, STATUS_OF_CODE
from multitenant.schemas.payload import Payload

View = TypeVar("View", bound=Callable[..., Any])

DESCRIPTION = """\
One database per tenant: log in, be routed to your tenant's database, and work there.

Every answer has the envelope `{success, statusCode, message, responseObject}`. An error's
`responseObject` has a `code` to program against. docs/api.md explains the rules.

With a token, the host and the header `X-Tenant-Id` may name its tenant and no other one (403
`tenant_mismatch`). With cookies, what changes something needs the header `X-CSRF-TOKEN`:
`csrfToken` of the login's answer, and `refreshCsrfToken` for refreshing.

A query parameter that a route does not have, or that is given twice, is 422. A route without a body
takes none, or `{}`.
"""
SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "jwt": {"type": "apiKey", "in": "header", "name": "jwt"},
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "access_token_cookie",
        "description": "Unsafe methods need the header X-CSRF-TOKEN as well. The names of all"
        " cookies begin with `__Host-` in production, unless COOKIE_DOMAIN is set",
    },
    "refreshToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT (refresh token)"},
    "refreshCookie": {"type": "apiKey", "in": "cookie", "name": "refresh_token_cookie"},
}
# What the id of something new is called in the answer, where it is not `id`.
_NAMES_OF_IDS = {"/api/tenants": "tenantId"}
UNSAFE = frozenset({"post", "put", "patch", "delete"})
_REFUSALS = "__refusals__"


def refuses(*codes: str) -> Callable[[View], View]:
    """Mark a view that may answer these error codes, besides those that follow from its kind."""

    def mark(view: View) -> View:
        setattr(view, _REFUSALS, (*getattr(view, _REFUSALS, ()), *codes))
        return view

    return mark


def build_document(app: OpenAPI) -> dict[str, Any]:
    """Return the document of the application's routes, JSON-ready."""
    document: dict[str, Any] = app.api_doc
    endpoints = {
        (_path(rule.rule), method.lower()): rule.endpoint
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
    }
    for path, item in document["paths"].items():
        for method, operation in item.items():
            endpoint = endpoints[path, method]
            module = module_of(app.blueprints.get(endpoint.rpartition(".")[0]))
            _complete(operation, method, app.view_functions[endpoint], module)
    _link(document["paths"])
    schemas = document["components"]["schemas"]
    schemas.pop("ValidationErrorModel", None)
    schemas["Error"] = _error_schema()
    document["servers"] = [{"url": "/"}]
    return document


def _path(rule: str) -> str:
    return rule.replace("<", "{").replace(">", "}")


def _complete(
    operation: dict[str, Any], method: str, view: Callable[..., Any], module: str | None
) -> None:
    operation["operationId"] = to_camel(view.__name__)
    if "requestBody" in operation:
        media = operation["requestBody"]["content"]["application/json"]
        model = media["schema"]["$ref"].rpartition("/")[2]
        media["example"] = payloads()[model].example
    operation["security"] = _security(access_of(view))
    responses = operation["responses"]
    responses.pop("422", None)  # flask-openapi3's own form, which we do not answer
    by_status: dict[int, list[str]] = {}
    codes = [*_refusals(operation, method, view), *(["module_disabled"] if module else [])]
    for code in dict.fromkeys(codes):
        by_status.setdefault(STATUS_OF_CODE[code], []).append(code)
    for status, of_status in sorted(by_status.items()):
        responses[str(status)] = _refusal(status, of_status)


def _link(paths: dict[str, Any]) -> None:
    """Say of each answer that tells of something new how to go on with it: the routes below take
    its id as their next parameter, and those of its own path as they are."""
    for path, item in paths.items():
        made = item.get("post", {}).get("responses", {}).get("201")
        if made is None:
            continue
        known = {name: f"$request.path.{name}" for name in _parameters(path)}
        made_id = "$response.body#/responseObject/" + _NAMES_OF_IDS.get(path, "id")
        links = {}
        for below, operations in paths.items():
            if below.startswith(path + "/{") and len(_parameters(below)) == len(known) + 1:
                for operation in operations.values():
                    name = operation["operationId"]
                    parameters = {**known, _parameters(below)[-1]: made_id}
                    links[name] = {"operationId": name, "parameters": parameters}
        if links:
            made["links"] = links


def _parameters(path: str) -> list[str]:
    return re.findall(r"{(\w+)}", path)


def _security(access: Access) -> list[dict[str, list[str]]]:
    if access is Access.PUBLIC:
        return []
    if access is Access.REFRESH:
        return [{"refreshToken": []}, {"jwt": []}, {"refreshCookie": []}]
    return [{"bearer": []}, {"jwt": []}, {"cookie": []}]


def _refusals(operation: dict[str, Any], method: str, view: Callable[..., Any]) -> Iterator[str]:
    """The error codes that the route may answer."""
    access = access_of(view)
    parameters = {parameter["name"]: parameter for parameter in operation.get("parameters", [])}
    # Of its body, of one that it does not take, and of its query.
    yield from ("malformed_json", "payload_too_large", "unsupported_media_type")
    yield "validation_failed"
    if "cursor" in parameters:
        yield "invalid_cursor"
    if any(parameter["in"] == "path" for parameter in parameters.values()):
        yield "not_found"
    if access is not Access.PUBLIC:
        yield from ("token_missing", "token_invalid", "token_expired", "token_revoked")
        yield from ("tenant_mismatch", "tenant_suspended", "tenant_busy", "tenant_maintenance")
        if method in UNSAFE:
            yield "csrf_failed"
    if access is Access.OPERATOR or roles_of(view) is not None:
        yield "role_required"
    yield from getattr(view, _REFUSALS, ())
    # What the database's own rules refuse, what it cannot do now, and bugs.
    yield from ("conflict", "database_unavailable", "internal_error")


def _refusal(status: int, codes: list[str]) -> dict[str, Any]:
    messages = _messages()
    response: dict[str, Any] = {
        "description": "; ".join(f"`{code}`: {messages[code]}" for code in codes),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error"},
                "examples": {code: {"value": _example(status, code)} for code in codes},
            }
        },
    }
    if status in (429, 503):
        response["headers"] = {
            "Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 1}}
        }
    return response


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
def payloads() -> dict[str, type[Payload]]:
    """Every payload by its name."""
    found, pending = {}, [Payload]
    while pending:
        payload = pending.pop()
        found[payload.__name__] = payload
        pending += payload.__subclasses__()
    return found


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


def _error_schema() -> dict[str, Any]:
    text = {"type": "string"}
    error = {
        "type": "object",
        "properties": {"field": text, "message": text},
        "required": ["field", "message"],
        "additionalProperties": False,
    }
    details = {
        "type": "object",
        "properties": {
            "code": {"type": "string", "enum": sorted(STATUS_OF_CODE)},
            "requestId": text,
            "incorrectField": text,
            "errors": {"type": "array", "items": error},
        },
        "required": ["code", "requestId"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {
            "success": {"const": False},
            "statusCode": {"type": "integer"},
            "message": text,
            "responseObject": details,
        },
        "required": ["success", "statusCode", "message", "responseObject"],
        "additionalProperties": False,
    }
