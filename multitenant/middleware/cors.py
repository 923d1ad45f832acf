"""Which web pages of other origins may use the API."""

from flask import Flask
from flask_cors import CORS

from multitenant.extensions import platform_of

REQUEST_HEADERS = (
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "X-CSRF-TOKEN",
    "X-Request-ID",
    "X-Tenant-Id",
    "jwt",
)
RESPONSE_HEADERS = ("Retry-After", "X-Request-ID")
PREFLIGHT_SECONDS = 600


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
        )
