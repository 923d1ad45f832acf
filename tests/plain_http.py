"""HTTP requests without TLS. A client of httpx's otherwise reads all certificate authorities first,
which takes 0.2 s of CPU each time."""

import ssl
from typing import Any

import httpx

_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def open_client(**options: Any) -> httpx.Client:
    """Return an httpx.Client with these options."""
    return httpx.Client(verify=_NO_CERTIFICATES, **options)


def request(method: str, url: str, **options: Any) -> httpx.Response:
    """Send one request over a connection of its own."""
    return httpx.request(method, url, verify=_NO_CERTIFICATES, **options)


def get(url: str, **options: Any) -> httpx.Response:
    """GET over a connection of its own."""
    return request("GET", url, **options)


def post(url: str, **options: Any) -> httpx.Response:
    """POST over a connection of its own."""
    return request("POST", url, **options)
