"""Fixtures: the application in processes of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from multitenant.embedded import EmbeddedServer
from tests.conftest import Client, own_environment
from tests.e2e.server import MULTITENANT_RUN, Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this folder `slow`: each starts processes that take a second or more."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("slow")


@pytest.fixture(scope="module")
def worker_class() -> str:
    """The gunicorn worker's."""
    return "gevent"


@pytest.fixture
def environment(environment: dict[str, str], worker_class: str) -> dict[str, str]:
    """The environment variables of an application on databases of its own."""
    return environment | {"WORKER_CLASS": worker_class}


THREE_WORKERS = {"WORKERS": "3", "THREADS": "8"}


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """Three workers, for one test, which may end them."""
    with Server(MULTITENANT_RUN, environment | THREE_WORKERS, tmp_path) as server:
        yield server.wait_until_ready()


@pytest.fixture(scope="module")
def shared_server(
    mongod: EmbeddedServer,
    mongo: Client,
    worker_class: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """Three workers, for tests that leave them as they are."""
    directory = tmp_path_factory.mktemp("shared-server")
    with own_environment(mongod, mongo, directory) as environment:
        changed = environment | THREE_WORKERS | {"WORKER_CLASS": worker_class}
        with Server(MULTITENANT_RUN, changed, directory) as server:
            yield server.wait_until_ready()
