"""How gunicorn serves the application: `gunicorn.conf.py` and `multitenant run` both use this.

Clients are opened by the first request that needs them, so always after the fork, and closed in
`worker_exit`.
"""

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
timeout = 60
graceful_timeout = _settings.graceful_timeout
max_requests = 100_000
max_requests_jitter = 10_000
preload_app = False
http_parser = "python"
control_socket_disable = True
# A heartbeat file on disk may block a worker for as long as the disk does.
_memory = "/dev/shm"  # noqa: S108  # gunicorn makes a file of its own there, safely
worker_tmp_dir = _memory if Path(_memory).is_dir() else None
logconfig_dict = logging_config(_settings)


def worker_exit(server: Any, worker: Any) -> None:
    """Close the worker's clients."""
    if app := getattr(worker.app, "callable", None):
        shut_down(app)
