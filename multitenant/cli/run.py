"""`multitenant run`."""

import errno
import os
import socket
import sys
import threading
from typing import Any

import click
from gunicorn.app.base import Application
from gunicorn.arbiter import Arbiter

from multitenant.addresses import is_ipv6
from multitenant.cli.platform import running_database, set_up
from multitenant.config import Settings, load_settings
from multitenant.errors import ConfigurationError
from multitenant.serving.native_threads import under_gevent

PATCHED = ("-m", "gevent.monkey", "--no-os", "--no-signal", "--no-subprocess", "--module")
"""What runs a module with gevent's patches, but for those that gunicorn's master must not have."""
COMMAND = ("multitenant", "run")
"""This very command, as a module and its arguments."""
PORT_IS_WRONG = (errno.EADDRINUSE, errno.EACCES)


class Server(Application):  # type: ignore[misc]  # gunicorn has no type hints
    """gunicorn in this process, serving create_app()."""

    def __init__(self, descriptor: int | None, *, owns_database: bool) -> None:
        """`descriptor` is that of a socket that is bound, and does not listen yet; None: gunicorn
        has inherited some."""
        self._descriptor = descriptor
        self._owns_database = owns_database
        super().__init__()

    def init(self, parser: Any, opts: Any, args: Any) -> None:
        """Take nothing from the command line."""

    def load_config(self) -> None:
        """Read this package's configuration."""
        self.load_config_from_module_name_or_filename("python:multitenant.serving.gunicorn_config")
        if self._descriptor is not None:
            self.cfg.set("bind", f"fd://{self._descriptor}")

    def load(self) -> Any:
        """Build the application; runs in each worker."""
        from multitenant import create_app

        return create_app()

    def run(self) -> None:
        """Serve until the end. On SIGUSR2 a new master begins with this very command; but not
        beside the embedded MongoDB, which ends with this process."""
        arbiter = Arbiter(self)
        module = PATCHED if under_gevent() else ("-m",)
        arbiter.START_CTX["args"] = [sys.executable, *module, *COMMAND]
        if self._owns_database:
            arbiter.handle_usr2 = lambda: arbiter.log.warning(
                "SIGUSR2 ignored: the embedded MongoDB has one application at a time"
            )
        try:
            arbiter.run()
        except RuntimeError as error:
            raise ConfigurationError(str(error)) from error


@click.command()
def run() -> None:
    """Serve the application with gunicorn.

    Without ADMIN_DB_URI (development only) it starts a real MongoDB of its own, which keeps its
    data in INSTANCE_PATH and stops with the application. It applies the admin database's
    migrations and makes the first operator, whose password it prints once.

    \b
    Examples:
      multitenant run
      PORT=8000 WORKERS=4 multitenant run
    """  # noqa: D301  # click wants a real backspace here
    settings = load_settings()
    if settings.worker_class == "gevent" and not under_gevent():
        # Once more from the start: whatever is imported before the patches keeps what it found.
        os.execv(  # noqa: S606  # this very command
            sys.executable, [sys.executable, *PATCHED, *COMMAND]
        )
    listener = None if _inherits_listeners() else _take_port(settings)
    owns_database = not settings.admin_db_uri.get_secret_value()
    with running_database(join=False) as settings:
        set_up(settings)
        os.environ["ADMIN_DB_URI"] = settings.admin_db_uri.get_secret_value()
        _wait_for_threads()
        click.echo(f"Serving on http://{settings.address}", err=True)
        descriptor = listener.detach() if listener else None  # gunicorn closes it
        Server(descriptor, owns_database=owns_database).run()


def _inherits_listeners() -> bool:
    """Whether gunicorn finds its listening sockets by itself: from the master that it replaces, or
    from systemd."""
    return "GUNICORN_FD" in os.environ or os.environ.get("LISTEN_PID") == str(os.getpid())


def _take_port(settings: Settings) -> socket.socket:
    """Return a socket that has the port, so that nobody takes it while a MongoDB is started and the
    operator made. Raises ConfigurationError where somebody has it already."""
    listener = socket.socket(socket.AF_INET6 if is_ipv6(settings.host) else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        why = f"{settings.address} {(error.strerror or 'cannot be used').lower()}"
        if error.errno in PORT_IS_WRONG:
            raise ConfigurationError(
                f"PORT: {why}; set another, as in `PORT=8000 make run`"
            ) from error
        raise ConfigurationError(f"HOST: {why}; set an address of this machine") from error
    return listener


def _wait_for_threads() -> None:
    """Let the threads of the clients that were closed end: a fork must not happen under them."""
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo_"):
            thread.join(timeout=5)
