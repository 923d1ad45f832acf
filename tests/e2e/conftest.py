"""Fixtures: the application in processes of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import MULTITENANT_RUN, Server


@pytest.fixture
def worker_class() -> str:
    """The gunicorn worker's."""
    return "gevent"


@pytest.fixture
def environment(environment: dict[str, str], worker_class: str) -> dict[str, str]:
    """The environment variables of an application on databases of its own."""
    return environment | {"WORKER_CLASS": worker_class}


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """Three workers."""
    changed = environment | {"WORKERS": "3", "THREADS": "8"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        yield server.wait_until_ready()
