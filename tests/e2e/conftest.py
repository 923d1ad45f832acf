"""Fixtures: the application in processes of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.server import MULTITENANT_RUN, Server


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    """Three workers."""
    changed = environment | {"WORKERS": "3", "THREADS": "8"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        yield server.wait_until_ready()
