"""A tenant's own server that takes connections and says nothing is waited for by no command for
longer than by a request."""

import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from bson import ObjectId

from multitenant.repositories.model import utc_now
from tests.integration.backups import Multitenant
from tests.integration.test_dead_servers import behind, bring_back
from tests.support import User, World


@pytest.fixture
def acme(world: World) -> Iterator[User]:
    """The owner of a tenant behind such a server; `Globex` is well."""
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listening:
        world.tenant("Globex")
        owner = behind(world, "Acme", listening.getsockname()[1])
        old = ObjectId.from_datetime(utc_now() - timedelta(hours=1))
        membership = {"_id": old, "email": "x", "tenantId": ObjectId(owner.tenant_id)}
        world.admin_db["tenantusers"].insert_one(membership)
        yield owner
        bring_back(world, owner)


@pytest.fixture
def command(multitenant: Multitenant, monkeypatch: pytest.MonkeyPatch) -> Multitenant:
    monkeypatch.setenv("OPERATION_TIMEOUT_MS", "1000")
    monkeypatch.setenv("TENANT_URI_ALLOWED_HOSTS", "127.0.0.1")
    return multitenant


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("tenants gc --dry-run", 0),
        ("migrations run --verify", 1),
        ("migrations status --indexes", 1),
        pytest.param("doctor --all", 0, marks=pytest.mark.slow),
    ],
)
def test_the_command_ends(acme: User, command: Multitenant, line: str, code: int) -> None:
    assert "Traceback" not in command(*line.split(), code=code).output


def test_the_others_are_backed_up(
    world: World, acme: User, command: Multitenant, tmp_path: Path
) -> None:
    output = command("backup", "--all", "--output", tmp_path / "backups", code=1).output
    assert "Acme" in output
    assert "Globex" in output
    assert len([*(tmp_path / "backups").iterdir()]) == 2  # and that of the operators
