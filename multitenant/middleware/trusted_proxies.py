"""Whom a request came from, when it came through proxies.

`X-Forwarded-For` is what anybody says. Only what a proxy of ours has written into it counts: from
the right, past every address that is a trusted proxy's, the first other one is the client's.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from flask import Flask

from multitenant.extensions import platform_of

Networks = Sequence[IPv4Network | IPv6Network]


def init_app(app: Flask) -> None:
    """Believe the proxies of TRUSTED_PROXIES; without any, nobody."""
    trusted = platform_of(app).settings.trusted_proxies
    if trusted:
        wsgi_app = TrustedProxies(app.wsgi_app, trusted)
        app.wsgi_app = wsgi_app  # type: ignore[method-assign]  # Flask's documented way


class TrustedProxies:
    """WSGI middleware that sets the client's address, and whether it spoke HTTPS."""

    def __init__(self, wsgi_app: Any, trusted: Networks) -> None:
        self._wsgi_app = wsgi_app
        self._trusted = trusted

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        peer = environ.get("REMOTE_ADDR", "")
        if self._is_trusted(peer):
            environ["REMOTE_ADDR"] = self._client(peer, environ.get("HTTP_X_FORWARDED_FOR", ""))
            scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip()
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        body: Iterable[bytes] = self._wsgi_app(environ, start_response)
        return body

    def _client(self, peer: str, forwarded: str) -> str:
        client = peer
        for hop in reversed(forwarded.split(",")):
            address = _address(hop.strip())
            if address is None:
                break  # nobody of ours wrote that; what stands before it is worth nothing
            client = str(address)
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, text: str) -> bool:
        address = _address(text)
        return address is not None and any(address in network for network in self._trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address; an IPv4 address that a socket for both kinds shows as IPv6 is that of IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
