"""Where `dbUri` makes the platform connect to: only where TENANT_URI_ALLOWED_HOSTS lets it.

`tests/unit/test_external.py` has the URIs that are refused, and why; here is what the network sees.
"""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from multitenant.embedded import EmbeddedServer
from tests.conftest import MakeWorld
from tests.support import refusal

SPELLINGS = [
    "127.0.0.1:{port}",
    "127.1:{port}",
    "2130706433:{port}",
    "0x7f000001:{port}",
    "0177.0.0.1:{port}",
    "localhost:{port}",
    "LOCALHOST.:{port}",
    "[::1]:{port}",
    "[::ffff:127.0.0.1]:{port}",
    "127.0.0.1:1,127.0.0.1:{port}",
    "allowed@127.0.0.1:{port}",
    "127.0.0.1:1%2C127.0.0.1:{port}",
]


@pytest.fixture
def internal() -> Iterator[socket.socket]:
    """Something of the platform's network that nobody outside should reach."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0)
        yield listening


def test_nothing_is_connected_to_that_is_not_allowed(
    make_world: MakeWorld, internal: socket.socket
) -> None:
    world = make_world(tenant_uri_allowed_hosts="127.0.0.1:1")
    port = internal.getsockname()[1]
    for spelling in SPELLINGS:
        for scheme in ("mongodb", "mongodb+srv"):
            uri = f"{scheme}://u:p@{spelling.format(port=port)}/acme"
            response = world.add(name="Acme", email="owner@acme.example", dbUri=uri)
            assert refusal(response, 422, "validation_failed")["incorrectField"] == "dbUri"
            with pytest.raises(BlockingIOError):
                internal.accept()


def test_the_admin_database_is_nobodys_also_where_its_server_is_allowed(
    make_world: MakeWorld, mongod: EmbeddedServer
) -> None:
    server = urlsplit(mongod.uri)
    world = make_world(tenant_uri_allowed_hosts=f"{server.hostname}:{server.port}")
    owner = world.tenant("Globex")
    for name in (world.admin_db.name, world.record(owner.tenant_id)["dbName"]):
        uri = f"mongodb://{server.netloc}/{name}?authSource=admin"
        response = world.add(name="Acme", email="owner@acme.example", dbUri=uri)
        details = refusal(response, 422, "validation_failed")
        assert "not empty" in details["errors"][0]["message"]
        assert str(server.password) not in response.text
