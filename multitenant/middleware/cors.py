"""Which web pages of other origins may use the API."""

from flask import Flask, Response, request
from flask_cors import CORS

from multitenant.extensions import platform_of

REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-None-Match",
    "X-CSRF-TOKEN",
    "X-Request-ID",
    "X-Tenant-Id",
    "jwt",
)
RESPONSE_HEADERS = ("ETag", "Retry-After", "X-Request-ID")
PREFLIGHT_SECONDS = 600
PREFLIGHT_HEADERS = ("Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers")


def init_app(app: Flask) -> None:
    """Answer the pages of CORS_ORIGINS; without any, no page of another origin."""
    origins = platform_of(app).settings.cors_origins
    if origins:
        CORS(
            app,
            origins=list(origins),
            supports_credentials=True,
            allow_headers=REQUEST_HEADERS,
            expose_headers=RESPONSE_HEADERS,
            max_age=PREFLIGHT_SECONDS,
            vary_header=False,
        )

    @app.after_request
    def vary(response: Response) -> Response:
        """Say what the answer depends on, also where this origin gets none of the headers: a cache
        must not give its answer to another one."""
        response.vary.update(PREFLIGHT_HEADERS if request.method == "OPTIONS" else ("Origin",))
        return response
