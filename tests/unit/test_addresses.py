"""HOST, and addresses as they are printed."""

import pytest

from multitenant.addresses import format_address, is_ipv6
from multitenant.config import load_settings
from multitenant.errors import ConfigurationError
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
