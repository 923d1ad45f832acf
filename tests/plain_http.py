"""HTTP requests without TLS. A client of httpx's otherwise reads all certificate authorities first,
which takes 0.2 s of CPU each time."""

import ssl
from typing import Any

import httpx

from tests.support import PATIENCE_SECONDS

DEFAULTS: dict[str, Any] = {
    "verify": ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
    "timeout": PATIENCE_SECONDS,
}


def open_client(**options: Any) -> httpx.Client:
    """Return an httpx.Client with these options."""
    return httpx.Client(**{**DEFAULTS, **options})


def request(method: str, url: str, **options: Any) -> httpx.Response:
    """Send one request over a connection of its own."""
    return httpx.request(method, url, **{**DEFAULTS, **options})


def get(url: str, **options: Any) -> httpx.Response:
    """GET over a connection of its own."""
    return request("GET", url, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """POST over a connection of its own."""
    return request("POST", url, **options)
