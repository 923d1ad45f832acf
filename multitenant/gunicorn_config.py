"""How gunicorn serves the application: `gunicorn.conf.py` and `multitenant run` both use this.

Clients are opened by the first request that needs them, so always after the fork, and closed in
`worker_exit`.
"""

import signal
import threading
from pathlib import Path
from typing import Any

from multitenant.config import load_settings
from multitenant.lifecycle import shut_down
from multitenant.logs import logging_config

_settings = load_settings()

bind = f"{_settings.host}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads
worker_class = "multitenant.gunicorn_worker.ThreadWorker"
# Sockets of a worker: requests being served, kept alive, or waiting for a thread.
worker_connections = 1000
keepalive = 5
# The longest that gunicorn reads; it answers 414 itself.
limit_request_line = 8190
timeout = 60
# gunicorn kills a worker after this time; the worker itself stops waiting a little earlier.
graceful_timeout = _settings.graceful_timeout + 5
max_requests = 100_000
max_requests_jitter = 10_000
preload_app = False
http_parser = "python"
# By default gunicorn lets a proxy on this machine set SCRIPT_NAME and PATH_INFO by header, and
# with it whoever can speak through that proxy.
forwarder_headers = ""
control_socket_disable = True
# A heartbeat file on disk may block a worker for as long as the disk does.
_memory = "/dev/shm"  # noqa: S108  # gunicorn makes a file of its own there, safely
worker_tmp_dir = _memory if Path(_memory).is_dir() else None
logconfig_dict = logging_config(_settings)


def pre_fork(server: Any, worker: Any) -> None:
    """Say so when a MongoClient lives in the master: its sockets and locks must not be forked."""
    if any(thread.name.startswith("pymongo_") for thread in threading.enumerate()):
        server.log.critical("A MongoClient is open before the fork; open it in the worker")


def post_worker_init(worker: Any) -> None:
    """Give requests in flight GRACEFUL_TIMEOUT, and this worker time to close its clients then."""
    worker.cfg.set("graceful_timeout", _settings.graceful_timeout)


def worker_exit(server: Any, worker: Any) -> None:
    """Close the worker's clients, undisturbed by an impatient second signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if app := getattr(worker.app, "callable", None):
        shut_down(app, timeout=0)
