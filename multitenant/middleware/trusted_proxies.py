"""Whom a request came from, when it came through proxies.

`X-Forwarded-For` is what anybody says. Only what a proxy of ours has written into it counts: from
the right, past every address that is a trusted proxy's, the first other one is the client's.

The peer of a Unix socket has no address, and is called `unix:`, as nginx calls it. Trusting it
means to trust whoever may open the socket's file.
"""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any

from flask import Flask

from multitenant.config import UNIX_SOCKET
from multitenant.extensions import platform_of

Networks = Sequence[IPv4Network | IPv6Network | str]
# `203.0.113.7:4711`, `[2001:db8::1]`, `[2001:db8::1]:4711`, `"[2001:db8::1]:_port"` (RFC 7239, 6)
WITH_PORT = re.compile(
    r"(?:(?P<v4>[0-9.]+)|\[(?P<v6>[^\]]*)\])(?::(?:[0-9]{0,5}|_[A-Za-z0-9._-]+))?"
)


def init_app(app: Flask) -> None:
    """Believe the proxies of TRUSTED_PROXIES; without any, nobody."""
    wsgi_app = TrustedProxies(app.wsgi_app, platform_of(app).settings.trusted_proxies)
    app.wsgi_app = wsgi_app  # type: ignore[method-assign]  # Flask's documented way


class TrustedProxies:
    """WSGI middleware that sets the client's address, and whether it spoke HTTPS."""

    def __init__(self, wsgi_app: Any, trusted: Networks) -> None:
        self._wsgi_app = wsgi_app
        self._trusted = trusted

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        peer = environ.get("REMOTE_ADDR") or UNIX_SOCKET
        environ["REMOTE_ADDR"] = peer
        if self._is_trusted(peer):
            environ["REMOTE_ADDR"] = self._client(peer, environ.get("HTTP_X_FORWARDED_FOR", ""))
            scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip()
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        body: Iterable[bytes] = self._wsgi_app(environ, start_response)
        return body

    def _client(self, peer: str, forwarded: str) -> str:
        client = peer
        for hop in filter(None, (text.strip() for text in reversed(forwarded.split(",")))):
            name = _name(hop)
            if name is None:
                break  # nobody of ours wrote that; what stands before it is worth nothing
            client = name
            if not self._is_trusted(client):
                break
        return client

    def _is_trusted(self, name: str) -> bool:
        if name == UNIX_SOCKET:
            return UNIX_SOCKET in self._trusted
        address = _address(name)
        return address is not None and any(
            address in network for network in self._trusted if not isinstance(network, str)
        )


def _name(hop: str) -> str | None:
    """The address of a hop, without port, zone and quotes, or `unix:`; None where it is neither,
    such as `unknown` or `_hidden`."""
    if len(hop) > 1 and hop[0] == hop[-1] == '"':
        hop = hop[1:-1]
    if hop == UNIX_SOCKET:
        return hop
    if match := WITH_PORT.fullmatch(hop):
        hop = match["v4"] or match["v6"]
    address = _address(hop)
    return None if address is None else str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """The address; an IPv4 address that a socket for both kinds shows as IPv6 is that of IPv4. The
    zone of a link-local one (`fe80::1%eth0`) says something on that machine only."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
