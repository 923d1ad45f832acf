"""Signals that come while an object is being thrown away: Python drops what is raised there."""

import subprocess
import sys

import pytest

from tests.support import CREDENTIAL_KEY, JWT_KEY

pytestmark = pytest.mark.slow

SIGNALLED = """
import os, signal, sys, time

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(0.01)
"""

BOOTING_WORKER = """
from multitenant.serving.gunicorn_config import post_fork

class Log:
    def warning(self, message): pass

class Server:
    log = Log()

post_fork(Server, None)
Dropped()
print("still there")
"""

FLASK_RUN = """
from flask import Flask
from multitenant import lifecycle

lifecycle.shut_down = lambda *_, **__: None
lifecycle.shut_down_on_signals(Flask(__name__))
lifecycle.platform_of = lambda _: type("Platform", (), {"settings": lifecycle})
lifecycle.graceful_timeout = 0
Dropped()
os.kill(os.getpid(), getattr(signal, sys.argv[1]))
print("still there")
"""


@pytest.mark.parametrize("wanted", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_a_worker_that_boots_hears_it(wanted: str) -> None:
    assert _run(BOOTING_WORKER, wanted) == ""


@pytest.mark.parametrize("wanted", ["SIGINT", "SIGTERM", "SIGQUIT"])
def test_flask_run_hears_the_next_one(wanted: str) -> None:
    assert _run(FLASK_RUN, wanted) == ""


def _run(script: str, wanted: str) -> str:
    """Run the script, which must exit with 0, and return what it says."""
    environment = {
        "MULTITENANT_ENV": "development",
        "ADMIN_DB_URI": "mongodb://localhost",
        "JWT_SECRET_KEYS": JWT_KEY,
        "CREDENTIAL_KEYS": CREDENTIAL_KEY,
        "WORKER_CLASS": "gthread",
    }
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED + script, wanted],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
