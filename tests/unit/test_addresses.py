"""HOST, and addresses as they are printed."""

import pytest

from multitenant.addresses import format_address, is_ipv6, is_loopback
from multitenant.config import load_settings
from multitenant.errors import ConfigurationError
from multitenant.tenancy.deployments.allowed_hosts import is_allowed
from tests.unit.test_config import PRODUCTION


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1:8000"),
        ("localhost", "localhost:8000"),
        ("0.0.0.0", "0.0.0.0:8000"),
        ("::1", "[::1]:8000"),
        ("[::1]", "[::1]:8000"),
        ("::", "[::]:8000"),
        ("2001:DB8::7", "[2001:DB8::7]:8000"),
    ],
)
def test_host_is_any_kind_of_address(host: str, address: str) -> None:
    settings = load_settings({**PRODUCTION, "HOST": host, "PORT": "8000"}, env_file=None)
    assert settings.address == address
    assert settings.host == host.strip("[]")


@pytest.mark.parametrize("host", ["[::1", "::1]", "[localhost]", "[127.0.0.1]", "fe80::1%eth0"])
def test_what_is_none_is_named(host: str) -> None:
    with pytest.raises(ConfigurationError, match="HOST: "):
        load_settings({**PRODUCTION, "HOST": host}, env_file=None)


def test_a_socket_has_no_port() -> None:
    assert format_address("/tmp/mongodb-27017.sock", None) == "/tmp/mongodb-27017.sock"
    assert not is_ipv6("db.example.com")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "a.localhost", "/tmp/x.sock"]
)
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["::", "::1234", "localhost.example.com", "127.example.com", ""])
def test_another_machine_is_not_taken_for_it(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("pattern", "port", "fits"),
    [
        ("[2001:db8::7]", 27017, True),
        ("[2001:0db8:0::7]:27017", 27017, True),
        ("[2001:db8::7]:27018", 27017, False),
        ("[2001:db8::8]", 27017, False),
        ("*.example.com", 27017, False),
    ],
)
def test_a_tenants_server_may_have_an_ipv6_address(pattern: str, port: int, fits: bool) -> None:
    settings = load_settings({**PRODUCTION, "TENANT_URI_ALLOWED_HOSTS": pattern}, env_file=None)
    assert is_allowed(("2001:DB8::7", port), settings.tenant_uri_allowed_hosts) == fits


@pytest.mark.parametrize("pattern", ["[2001:db8::7", "[::g]", "[127.0.0.1]", "2001:db8::7", "[]"])
def test_what_is_no_pattern_of_a_host_is_named(pattern: str) -> None:
    with pytest.raises(ConfigurationError, match="TENANT_URI_ALLOWED_HOSTS: "):
        load_settings({**PRODUCTION, "TENANT_URI_ALLOWED_HOSTS": pattern}, env_file=None)


def test_a_page_may_come_from_an_ipv6_address() -> None:
    origin = "http://[::1]:3000"
    settings = load_settings({**PRODUCTION, "CORS_ORIGINS": origin}, env_file=None)
    assert settings.cors_origins == (origin,)
