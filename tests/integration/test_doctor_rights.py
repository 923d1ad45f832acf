"""`multitenant doctor` fails where the platform may not do what it needs."""

from collections.abc import Iterator
from typing import Any

import pytest

from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.deployments.deployments import NEEDED
from tests.conftest import Client
from tests.integration.conftest import Command
from tests.integration.test_doctor import failed, levels, told
from tests.support import World

ALL_ACTIONS = [*sorted(NEEDED), "collMod", "killCursors", "convertToCapped", "listDatabases"]
EVERYWHERE = {"db": "", "collection": ""}


@pytest.fixture
def doctor(command: Command) -> Command:
    return lambda *arguments: command("doctor", "--json", *arguments)


@pytest.fixture
def become(mongod: EmbeddedServer, mongo: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Make the platform connect as somebody with just these privileges."""

    def become(*privileges: dict[str, Any]) -> None:
        listing = {"resource": {"cluster": True}, "actions": ["listDatabases"]}
        mongo.admin.command("createRole", "narrow", privileges=[listing, *privileges], roles=[])
        mongo.admin.command("createUser", "narrow", pwd="narrow", roles=["narrow"])
        uri = mongod.uri.replace(f"multitenant:{mongod._password}", "narrow:narrow")
        monkeypatch.setenv("ADMIN_DB_URI", uri)

    yield become
    mongo.admin.command("dropUser", "narrow")
    mongo.admin.command("dropRole", "narrow")


def test_no_rights_on_the_admin_database_are_a_failure(
    world: World, doctor: Command, become: Any
) -> None:
    become({"resource": {"db": "another", "collection": ""}, "actions": ["find"]})
    result = doctor()
    assert result.exit_code == 1
    assert failed(result) == {"migrations", "admin change stream"}
    assert "ADMIN_DB_URI" in told(result)["migrations"]["mend"]


@pytest.mark.parametrize("lacking", ["remove", "dropIndex", "collStats"])
def test_a_single_right_that_is_lacking_is_named(
    world: World, doctor: Command, become: Any, lacking: str
) -> None:
    actions = [action for action in ALL_ACTIONS if action != lacking]
    become({"resource": EVERYWHERE, "actions": actions})
    result = doctor()
    assert result.exit_code == 1
    assert "failure" in (levels(result)["rights"], levels(result)["drops databases"])
    assert lacking in result.output or "drops databases" in failed(result)


def test_a_right_that_is_lacking_in_the_admin_database_alone_is_a_failure(
    world: World, doctor: Command, become: Any
) -> None:
    """Everything in the tenants' databases of now, and nothing in the next one's."""
    name = world.admin_db.name
    become({"resource": {"db": name, "collection": ""}, "actions": ALL_ACTIONS})
    result = doctor()
    assert failed(result) == {"makes databases"}


def test_the_rights_that_are_needed_are_enough(world: World, doctor: Command, become: Any) -> None:
    become({"resource": EVERYWHERE, "actions": ALL_ACTIONS})
    result = doctor()
    assert failed(result) == set()
    assert levels(result)["rights"] == "ok"


def test_an_old_release_is_a_warning(world: World, doctor: Command) -> None:
    found = told(doctor())["support"]
    version = world.admin_db.client.server_info()["version"]
    assert version in found["found"]
    if version == "6.0.5":
        assert found["level"] == "warning"
        assert "CVE-2025-14847" in found["found"]
