"""What the document says of the API as a whole."""

from typing import Any

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
CONTACT = "The operators of this platform"
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
HEADERS: dict[str, Any] = {
    "RequestId": {
        "description": "The caller's X-Request-ID, or a new one; it is in the log, too",
        "required": True,
        "schema": {"type": "string"},
    },
    "RetryAfter": {
        "description": "In how many seconds to try again",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "WwwAuthenticate": {
        "description": "How to send a token",
        "required": True,
        "schema": {"type": "string", "examples": ["Bearer"]},
    },
}
