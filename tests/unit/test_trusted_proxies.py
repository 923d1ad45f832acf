"""Whose word counts about where a request came from."""

from ipaddress import ip_network
from typing import Any

import pytest

from multitenant.middleware.trusted_proxies import TrustedProxies

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("::1/128")]


def seen(peer: str, forwarded: str | None, proto: str | None = None) -> tuple[str, str]:
    """The address and scheme that the application sees."""
    environ: dict[str, Any] = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http"}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    if proto is not None:
        environ["HTTP_X_FORWARDED_PROTO"] = proto
    TrustedProxies(lambda environ, _: [], TRUSTED)(environ, None)
    return environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("::1", "203.0.113.7", "203.0.113.7"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", " 203.0.113.7 , 10.0.0.2", "203.0.113.7"),
        # what the client itself has written stands to the left of what our proxy has
        ("10.0.0.1", "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "10.9.9.9, 203.0.113.7", "203.0.113.7"),
        # nobody in front is believed
        ("203.0.113.7", "198.51.100.1", "203.0.113.7"),
        ("unix:", "198.51.100.1", "unix:"),
        # and neither is what is no address
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "unknown", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, evil", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, evil, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
    ],
)
def test_the_client_is_the_last_hop_that_is_not_a_trusted_proxy(
    peer: str, forwarded: str | None, client: str
) -> None:
    assert seen(peer, forwarded)[0] == client


@pytest.mark.parametrize(
    ("peer", "proto", "scheme"),
    [
        ("10.0.0.1", "https", "https"),
        ("10.0.0.1", "http, https", "https"),
        ("10.0.0.1", "gopher", "http"),
        ("10.0.0.1", None, "http"),
        ("203.0.113.7", "https", "http"),
    ],
)
def test_only_a_trusted_proxy_says_that_the_client_spoke_https(
    peer: str, proto: str | None, scheme: str
) -> None:
    assert seen(peer, None, proto)[1] == scheme
