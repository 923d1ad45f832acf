"""Errors become HTTP here, and nowhere else."""

import logging
import re
from itertools import islice
from typing import NoReturn

from flask import Flask, Response, g
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pymongo.errors import OperationFailure
from werkzeug.exceptions import HTTPException

from multitenant.errors import Conflict, DatabaseUnavailable, DomainError, ValidationFailed
from multitenant.extensions import platform
from multitenant.middleware.envelope import failure
from multitenant.repositories.error_codes import LOGIN_REFUSED, Kind, is_out_of_space
from multitenant.repositories.error_kinds import classify
from multitenant.repositories.error_texts import describe
from multitenant.tenancy.deployments.foreign_servers import STUMBLES
from multitenant.tenancy.routing.leases import Lease

logger = logging.getLogger(__name__)

STATUS_OF_CODE = {
    "malformed_json": 400,
    "invalid_cursor": 400,
    "token_missing": 401,
    "token_invalid": 401,
    "token_expired": 401,
    "token_revoked": 401,
    "credentials_invalid": 401,
    "role_required": 403,
    "tenant_mismatch": 403,
    "tenant_suspended": 403,
    "module_disabled": 403,
    "csrf_failed": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "already_exists": 409,
    "tenant_required": 409,
    "user_limit_reached": 409,
    "conflict": 409,
    "payload_too_large": 413,
    "unsupported_media_type": 415,
    "validation_failed": 422,
    "rate_limited": 429,
    "tenant_busy": 429,
    "tenant_maintenance": 503,
    "database_unavailable": 503,
    "internal_error": 500,
}
# What Werkzeug raises, in the API's words.
CODE_OF_HTTP_STATUS = {
    400: ("malformed_json", "The request could not be read"),
    404: ("not_found", "There is no such route"),
    405: ("method_not_allowed", "This route does not take this method"),
    413: ("payload_too_large", "The body is too large"),
    415: ("unsupported_media_type", "Send the body as application/json, in UTF-8, uncompressed"),
}
DEFAULT_RETRY_SECONDS = 1
REFUSED = "The tenant's database refuses this: its rules, or what it holds, do not allow it"
# How many errors an answer lists, and how much of a field's name, which may be the caller's.
MAX_ERRORS = 20
MAX_SHOWN = 60


def init_app(app: Flask) -> None:
    """Answer every error in the envelope."""
    app.register_error_handler(DomainError, answer_domain_error)
    app.register_error_handler(HTTPException, _answer_http_error)
    app.register_error_handler(Exception, _answer_error)


def answer_domain_error(error: DomainError) -> Response:
    """Return the answer to an error of the domain."""
    status = STATUS_OF_CODE[error.code]
    details = {"code": error.code, "requestId": g.get("request_id")}
    incorrect_field = error.incorrect_field
    if error.errors:
        incorrect_field = incorrect_field or error.errors[0]["field"] or None
        details["errors"] = error.errors
    if incorrect_field:
        details["incorrectField"] = incorrect_field
    response = failure(status, error.message, details)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if status in (429, 503):
        response.headers["Retry-After"] = str(error.retry_after or DEFAULT_RETRY_SECONDS)
    return response


def refuse_invalid_input(error: ValidationError) -> NoReturn:
    """Raise ValidationFailed for what Pydantic found."""
    errors = [
        {
            "field": ".".join(str(part)[:MAX_SHOWN] for part in problem["loc"]),
            "message": _explain(problem),
        }
        for problem in islice(error.errors(include_url=False, include_input=False), MAX_ERRORS)
    ]
    raise ValidationFailed(errors=errors) from error


def _explain(problem: ErrorDetails) -> str:
    """What is wrong with a field; Pydantic's words, where they are for people."""
    bounds = problem.get("ctx", {})
    if problem["type"] == "extra_forbidden":
        return "is not a field of this request"
    if bounds.get("field_type") == "Value":  # a string to which a function was applied before
        if problem["type"] == "too_long":
            return f"must have at most {bounds['max_length']} characters"
        if problem["type"] == "too_short":
            return f"must have at least {bounds['min_length']} characters"
    return re.sub("^Value error, ", "", problem["msg"])


def _answer_error(error: Exception) -> Response:
    """Answer what is no error of the domain: MongoDB's errors, and bugs."""
    kind = classify(error)
    passes = kind in (Kind.PASSING, Kind.UNKNOWN)
    if passes or (kind is Kind.OURS and _is_from_own_server(error)):
        _note_unavailable(error)
        return answer_domain_error(DatabaseUnavailable())
    if kind is Kind.REFUSED:
        logger.warning("The database refuses a request: %s", describe(error))
        return answer_domain_error(Conflict(REFUSED))
    logger.error("Unexpected %s", type(error).__name__, exc_info=error)
    return answer_domain_error(DomainError("Something went wrong; quote the requestId to us"))


def _is_from_own_server(error: Exception) -> bool:
    """Whether the tenant's own server may have led to the error, by answering something else than
    MongoDB does."""
    lease: Lease | None = g.get("lease")
    return lease is not None and lease.tenant.has_own_server and isinstance(error, STUMBLES)


def _note_unavailable(error: Exception) -> None:
    """Log why the database is unavailable, and remember what that says of the tenant's cluster."""
    if isinstance(error, OperationFailure) and error.code in LOGIN_REFUSED:
        # The owner of the tenant's server has changed the password.
        if "tenant" in g:
            platform().connections.forget(g.tenant.id)
        logger.error("The tenant's database refuses the credentials")
    elif isinstance(error, OperationFailure) and is_out_of_space(error):
        logger.error("The database has no room on its disk")
    else:
        logger.error("The database is unavailable: %s", describe(error), exc_info=error)


def _answer_http_error(error: HTTPException) -> Response | HTTPException:
    if error.code is None or error.code < 400 or error.response is not None:
        return error
    name = re.sub(r"[^a-z]+", "_", error.name.lower())
    code, message = CODE_OF_HTTP_STATUS.get(error.code, (name, error.name))
    response = failure(error.code, message, {"code": code, "requestId": g.get("request_id")})
    for header, value in error.get_headers():
        if header not in ("Content-Type", "Content-Length"):
            response.headers[header] = value
    return response
