"""How gunicorn serves the application: `gunicorn.conf.py` and `multitenant run` both use this.

Clients are opened by the first request that needs them, so always after the fork, and closed in
`worker_exit`.
"""

import gc
import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

from multitenant.config import UNIX_SOCKET, load_settings
from multitenant.errors import ConfigurationError
from multitenant.lifecycle import shut_down
from multitenant.logs import logging_config
from multitenant.serving.master import handle_signals
from multitenant.serving.native_threads import under_gevent

try:
    _settings = load_settings()
except ConfigurationError as error:  # gunicorn shows a traceback for any other exception
    raise SystemExit(f"Error: {error}") from error
if under_gevent() != (_settings.worker_class == "gevent"):
    raise ConfigurationError(
        "WORKER_CLASS: gevent must patch Python before anything else is imported, and only for"
        " gevent. Start with `multitenant run`, or with `gunicorn -c gunicorn.conf.py`, which do,"
        " or set WORKER_CLASS=gthread."
    )

bind = _settings.address
workers = _settings.workers
threads = _settings.threads
worker_class = {
    "gevent": "multitenant.serving.gevent_worker.GeventWorker",
    "gthread": "multitenant.serving.thread_worker.ThreadWorker",
}[_settings.worker_class]
# Sockets of a worker: requests being served, kept alive, or waiting for their turn.
worker_connections = 1000
keepalive = _settings.keepalive_seconds
# The longest that gunicorn reads; it answers 414 itself.
limit_request_line = 8190
timeout = 60
# The master kills a worker after this time; the worker itself stops waiting a little earlier.
graceful_timeout = _settings.graceful_timeout + 5
# Against what might leak in the long run. Where there is one worker, nobody is served for the two
# seconds in which another takes its place, so not often.
max_requests = 1_000_000
max_requests_jitter = 100_000
preload_app = False
http_parser = "python"
# By default gunicorn lets a proxy on this machine set SCRIPT_NAME and PATH_INFO by header, and
# with it whoever can speak through that proxy.
forwarder_headers = ""
control_socket_disable = True
# A heartbeat file on disk may block a worker for as long as the disk does.
_memory = "/dev/shm"  # noqa: S108  # gunicorn makes a file of its own there, safely
worker_tmp_dir = _memory if Path(_memory).is_dir() else None
logger_class = "multitenant.serving.server_log.ServerLog"
logconfig_dict = logging_config(_settings)

# What a worker opens besides: logs, the application's own files, its event loop.
OTHER_FILES = 100
# Objects made before the collector looks for cycles; Python's 700 is a few requests.
GARBAGE_THRESHOLD = 20_000


def on_starting(server: Any) -> None:
    """Take care of signals; runs in the master."""
    handle_signals(server, drain_seconds=_settings.drain_seconds)


def when_ready(server: Any) -> None:
    """Warn where all clients would share one limit of logins: the peer of a Unix socket has no
    address."""
    on_file = any(isinstance(listener.getsockname(), (str, bytes)) for listener in server.LISTENERS)
    if on_file and UNIX_SOCKET not in _settings.trusted_proxies:
        server.log.warning(
            f"All clients of a Unix socket count as one: with TRUSTED_PROXIES={UNIX_SOCKET} they"
            " have the address that the proxy in front gives in X-Forwarded-For"
        )


def pre_fork(server: Any, worker: Any) -> None:
    """Say so when a MongoClient lives in the master: its sockets and locks must not be forked."""
    if any(thread.name.startswith("pymongo_") for thread in threading.enumerate()):
        server.log.critical("A MongoClient is open before the fork; open it in the worker")


def post_fork(server: Any, worker: Any) -> None:
    """End at once when told to before there is anything to end. Until a worker has handlers of
    its own it has the master's, which would note the signal for a master, and lose it. So would
    SystemExit be lost, where it is raised in a `__del__`."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: os._exit(0))
    _allow_enough_files(server)


def _allow_enough_files(server: Any) -> None:
    """Raise this process's limit of open files to what the worker may need: 1024, the usual one,
    is too few, and a worker that has none left can serve nobody."""
    needed = worker_connections + _settings.connection_budget + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    enough = hard == resource.RLIM_INFINITY or hard >= needed
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed if enough else hard, hard))
    if not enough:
        server.log.warning(
            f"A worker may need {needed} open files, and the system allows it {hard}:"
            " raise the limit (ulimit -Hn)"
        )


def post_worker_init(worker: Any) -> None:
    """Give requests in flight GRACEFUL_TIMEOUT, and this worker time to close its clients then.
    Leave to the master what is sent to all its processes at once. Keep the garbage collector off
    what lives as long as the process."""
    worker.cfg.set("graceful_timeout", _settings.graceful_timeout)
    for number in (signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)


def worker_exit(server: Any, worker: Any) -> None:
    """Close the worker's clients, undisturbed by an impatient second signal."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    if app := getattr(worker.app, "callable", None):
        shut_down(app, timeout=0)
