"""The forms in which proxies write an address into X-Forwarded-For."""

import importlib
import sys
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from multitenant.config import load_settings
from multitenant.errors import ConfigurationError
from multitenant.middleware.trusted_proxies import TrustedProxies

PROXIES = [ip_network("10.0.0.0/8"), ip_network("fe80::/10")]


def client(peer: str, forwarded: str | None, trusted: Any = PROXIES) -> str:
    """The address that the application sees."""
    environ = {"REMOTE_ADDR": peer, "wsgi.url_scheme": "http"}
    if forwarded is not None:
        environ["HTTP_X_FORWARDED_FOR"] = forwarded
    TrustedProxies(lambda *_: [], trusted)(environ, None)
    return environ["REMOTE_ADDR"]


@pytest.mark.parametrize(
    ("forwarded", "seen"),
    [
        ("203.0.113.7:51234", "203.0.113.7"),
        ("203.0.113.7:", "203.0.113.7"),
        ("203.0.113.7:_hidden", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ('"203.0.113.7"', "203.0.113.7"),
        ('"203.0.113.7:80"', "203.0.113.7"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("[::ffff:203.0.113.7]:80", "203.0.113.7"),
        # a zone says nothing here, and must not make one client look like many
        ("2001:db8::1%eth0", "2001:db8::1"),
        ("[2001:db8::1%25eth0]:80", "2001:db8::1"),
        # proxies behind each other, each with its port
        ("203.0.113.7:1, 10.0.0.3:2, 10.0.0.2:3", "203.0.113.7"),
        ("203.0.113.7, fe80::2%eth0", "203.0.113.7"),
        ("198.51.100.1:9, 203.0.113.7:1, 10.0.0.2", "203.0.113.7"),
        ("198.51.100.1,\t203.0.113.7 ,10.0.0.2", "203.0.113.7"),
        # several headers, as WSGI joins them, and empty elements (RFC 9110, 5.6.1)
        ("198.51.100.1,203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, , 10.0.0.2", "203.0.113.7"),
        ("203.0.113.7,", "203.0.113.7"),
        (",, 203.0.113.7", "203.0.113.7"),
        (" , ", "10.0.0.1"),
        # what is no address ends what is known
        ("unknown", "10.0.0.1"),
        ("203.0.113.7, unknown", "10.0.0.1"),
        ("203.0.113.7, _hidden, 10.0.0.2:80", "10.0.0.2"),
        ("203.0.113.7, _gazonk:4711", "10.0.0.1"),
        ("203.0.113.7, unix:", "unix:"),
        ("203.0.113.7:port", "10.0.0.1"),
        ("203.0.113.7:123456", "10.0.0.1"),
        ("203.0.113.7 :80", "10.0.0.1"),
        ("203.0.113", "10.0.0.1"),
        ("203.0.113.007", "10.0.0.1"),
        ("\u0662.0.0.1", "10.0.0.1"),
        ("[203.0.113.7]:80:80", "10.0.0.1"),
        ("[2001:db8::1", "10.0.0.1"),
        ("[]:80", "10.0.0.1"),
        ('"', "10.0.0.1"),
        ('""', "10.0.0.1"),
        ("for=203.0.113.7", "10.0.0.1"),
        ("203.0.113.0/24", "10.0.0.1"),
    ],
)
def test_an_address_counts_without_port_zone_and_quotes(forwarded: str, seen: str) -> None:
    assert client("10.0.0.1", forwarded) == seen


@pytest.mark.parametrize(
    ("trusted", "forwarded", "seen"),
    [
        (["unix:"], "203.0.113.7", "203.0.113.7"),
        (["unix:"], "203.0.113.7:80", "203.0.113.7"),
        (["unix:"], "198.51.100.1, 203.0.113.7", "203.0.113.7"),
        (["unix:"], "203.0.113.7, unix:", "203.0.113.7"),  # nginx behind nginx
        (["unix:", *PROXIES], "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        (["unix:"], None, "unix:"),
        (["unix:"], "unknown", "unix:"),
        (PROXIES, "203.0.113.7", "unix:"),
        ([], "203.0.113.7", "unix:"),
    ],
)
@pytest.mark.parametrize("peer", ["", "unix:"])
def test_the_peer_of_a_unix_socket_is_believed_where_the_settings_say_so(
    peer: str, trusted: Any, forwarded: str | None, seen: str
) -> None:
    assert client(peer, forwarded, trusted) == seen


def test_trusting_a_unix_socket_trusts_no_address() -> None:
    assert client("203.0.113.7", "198.51.100.1", ["unix:"]) == "203.0.113.7"


def test_the_setting_takes_addresses_networks_and_the_unix_socket() -> None:
    given = {"MULTITENANT_ENV": "development", "TRUSTED_PROXIES": "unix:, 10.0.0.1,::1"}
    networks = (ip_network("10.0.0.1/32"), ip_network("::1/128"))
    assert load_settings(given, env_file=None).trusted_proxies == ("unix:", *networks)
    for wrong in ("unix", "unix:/run/x.sock", "*", "10.0.0.1:80"):
        with pytest.raises(ConfigurationError, match="TRUSTED_PROXIES"):
            load_settings(given | {"TRUSTED_PROXIES": wrong}, env_file=None)


@pytest.fixture
def gunicorn_config(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """gunicorn's configuration, as it is read at the start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTITENANT_ENV", "development")
    monkeypatch.setenv("WORKER_CLASS", "gthread")
    monkeypatch.setenv("TRUSTED_PROXIES", request.param)
    name = "multitenant.serving.gunicorn_config"
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield importlib.import_module(name)
    sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("gunicorn_config", "address", "warnings"),
    [
        ("", "/run/socket", 1),
        ("10.0.0.0/8", "/run/socket", 1),
        ("10.0.0.0/8,unix:", "/run/socket", 0),
        ("", ("127.0.0.1", 5000), 0),
    ],
    indirect=["gunicorn_config"],
)
def test_the_start_warns_where_all_clients_would_be_one(
    gunicorn_config: Any, address: Any, warnings: int
) -> None:
    said: list[str] = []
    listener = SimpleNamespace(getsockname=lambda: address)
    log = SimpleNamespace(warning=said.append)
    gunicorn_config.when_ready(SimpleNamespace(LISTENERS=[listener], log=log))
    assert len(said) == warnings
    assert all("TRUSTED_PROXIES=unix:" in message for message in said)
