"""`flask --app wsgi run`: each of the four signals ends it cleanly."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.cli.platform import set_up
from multitenant.config import Settings
from tests.e2e.server import FLASK_RUN, Server
from tests.e2e.test_gunicorn import slow_finds
from tests.support import PASSWORD, PATIENCE_SECONDS


@pytest.mark.parametrize("wanted", ["SIGINT", "SIGTERM", "SIGQUIT", "SIGUSR2"])
def test_a_signal_lets_the_request_in_flight_end_and_exits_0(
    settings: Settings,
    environment: dict[str, str],
    tmp_path: Path,
    mongo: MongoClient[dict[str, Any]],
    wanted: str,
) -> None:
    set_up(settings)
    with Server(FLASK_RUN, environment, tmp_path) as server:
        server.wait_until_ready()
        with server.login(server.add_tenant("Acme"), PASSWORD) as owner:
            owner.get("/api/users/me")
            slow_finds(mongo, 1, 1.5)
            with ThreadPoolExecutor(1) as pool:
                # a request without a lease: closing the clients must wait for it, too
                slow = pool.submit(owner.get, "/readyz")
                time.sleep(0.5)
                server.process.send_signal(signal.Signals[wanted])
                time.sleep(0.2)
                assert server.process.poll() is None, "it must wait for the request"
                server.process.send_signal(signal.Signals[wanted])  # impatient: changes nothing
                assert slow.result().status_code == 200
        assert server.process.wait(timeout=PATIENCE_SECONDS) == 0
        assert server.log.count("Every client is closed") == 1
        assert server.log.count(f"{wanted}: ending") == 1
