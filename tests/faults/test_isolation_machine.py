"""Tenants are made, changed, moved and removed, all at once, while requests with every token there
ever was come to real workers: each answer is the asking tenant's, each refusal the right one.

Hypothesis chooses what happens, and makes an example that fails smaller. `FAULTS_SEED` repeats a
run as far as threads allow.
"""

import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, configuration, seed, settings
from hypothesis.stateful import run_state_machine_as_test
from pymongo import MongoClient

from tests.e2e.server import MULTITENANT_RUN, Server
from tests.faults.budget import LONG, seconds
from tests.faults.isolation.client import Wire, connections
from tests.faults.isolation.machine import Machine
from tests.faults.isolation.platform import RunningPlatform
from tests.support import World

pytestmark = pytest.mark.slow

WORKERS = 2
EXAMPLES, STEPS = (5, 60) if LONG else (3, 30)
"""Of one run of Hypothesis'; there are as many as there is time for."""


@pytest.fixture
def server(environment: dict[str, str], tmp_path: Path) -> Iterator[Server]:
    changed = environment | {
        "WORKER_CLASS": "gevent",
        "WORKERS": str(WORKERS),
        "ISOLATION_CHECK": "true",
        # Fewer than there are tenants, so that they push each other out.
        "TENANT_CACHE_SIZE": "3",
        "MAX_POOL_SIZE": "16",
        "CONNECTION_BUDGET": "66",
        "ACCESS_TOKEN_SECONDS": "86400",
        "IMPERSONATION_SECONDS": "3600",
        "REFRESH_GRACE_SECONDS": "0",
    }
    with Server(MULTITENANT_RUN, changed, tmp_path / "server") as server:
        yield server.wait_until_ready()


def test_every_answer_is_the_asking_tenants_and_every_refusal_the_right_one(
    server: Server,
    world: World,
    blue: MongoClient[dict[str, Any]],
    mongo: MongoClient[dict[str, Any]],
    tmp_path: Path,
) -> None:
    configuration.set_hypothesis_home_dir(tmp_path / "hypothesis")
    number = int(os.environ.get("FAULTS_SEED", secrets.randbelow(2**32)))
    platform = RunningPlatform(
        Wire(server.port), worker_processes(server), world, {"default": mongo, "blue": blue}
    )
    ends_at = time.monotonic() + seconds(15)
    try:
        while True:
            run(platform, number)
            if time.monotonic() > ends_at:
                break
            number = (number + 1) % 2**32
        reports = [line.send(connections(platform.operator)).object for line in platform.lines]
    except BaseException as error:
        error.add_note(f"FAULTS_SEED={number}; at first: {platform.failures[:1]}")
        raise
    finally:
        platform.close()
        print(  # noqa: T201
            f"{platform.examples} examples, {platform.steps} steps, {platform.wire.sent} requests;"
            f" an old answer at most {platform.slowest * 1000:.0f} ms after a change;"
            f" FAULTS_SEED={number}"
        )
    for report in reports:
        sockets = report["sockets"]
        assert sockets["open"] <= sockets["limit"] <= sockets["budget"]
        assert report["leases"] == 1, "that of this request"
        assert report["cache"]["evictions"] > 0
    assert server.stop() == 0
    assert server.log.count("Every client is closed") == WORKERS
    for word in ('"level":"ERROR"', '"level":"CRITICAL"', "Traceback", "left its tenant"):
        assert word not in server.log, word


def run(platform: RunningPlatform, number: int) -> None:
    """Let Hypothesis choose some examples."""

    @seed(number)
    def machine() -> Machine:
        return Machine(platform)

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]  # it takes functions, too
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=None,
            database=None,
            print_blob=True,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def worker_processes(server: Server) -> set[int]:
    """The process ids of the workers."""
    started = re.findall(r"Booting worker with pid: (\d+)", server.log)
    assert len(started) == WORKERS
    return {int(pid) for pid in started}
