"""Fixtures of the tests of faults; the figures that they have found are told at the end."""

from typing import Any

import pytest

from tests.conftest import Client
from tests.faults.deployment import Deployment
from tests.faults.killing import Victim
from tests.support import User, World


@pytest.fixture
def deployment(world: World, mongo: Client) -> Deployment:
    """The platform on one server."""
    return Deployment(world, {"default": mongo})


@pytest.fixture
def on_two_clusters(world: World, mongo: Client, blue: Client) -> Deployment:
    """The platform on the clusters `default` and `blue`; behind the latter's servers there is also
    what belongs to somebody else."""
    return Deployment(world, {"default": mongo, "blue": blue, "external": blue})


@pytest.fixture
def victim(world: World) -> Victim:
    """A process of the platform."""
    return Victim(world.platform.settings)


@pytest.fixture(scope="module")
def acme(shared: World) -> User:
    """The owner of a tenant there."""
    return shared.tenant("Acme", subdomain="acme")


@pytest.fixture(scope="module")
def globex(shared: World) -> User:
    """The owner of another one."""
    return shared.tenant("Globex", subdomain="globex")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what tests have recorded with `record_property`."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{report.head_line}: {name}: {value}")
