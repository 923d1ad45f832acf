"""`multitenant run`."""

import os
import socket
import sys
import threading
from typing import Any

import click
from gunicorn.app.base import Application

from multitenant.cli.platform import running_database, set_up
from multitenant.config import Settings, load_settings
from multitenant.errors import ConfigurationError
from multitenant.serving.native_threads import under_gevent

PATCHED = ("-m", "gevent.monkey", "--no-os", "--no-signal", "--no-subprocess", "--module")
"""What runs a module with gevent's patches, but for those that gunicorn's master must not have."""


class Server(Application):  # type: ignore[misc]  # gunicorn has no type hints
    """gunicorn in this process, serving create_app()."""

    def init(self, parser: Any, opts: Any, args: Any) -> None:
        """Take nothing from the command line."""

    def load_config(self) -> None:
        """Read this package's configuration."""
        self.load_config_from_module_name_or_filename("python:multitenant.serving.gunicorn_config")

    def load(self) -> Any:
        """Build the application; runs in each worker."""
        from multitenant import create_app

        return create_app()


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
            sys.executable, [sys.executable, *PATCHED, "multitenant", "run"]
        )
    _ensure_port_is_free(settings)
    with running_database(join=False) as settings:
        set_up(settings)
        os.environ["ADMIN_DB_URI"] = settings.admin_db_uri.get_secret_value()
        _wait_for_threads()
        click.echo(f"Serving on http://{settings.host}:{settings.port}", err=True)
        Server().run()


def _ensure_port_is_free(settings: Settings) -> None:
    """Say so at once, and not after a MongoDB was started and gunicorn has tried five times."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            why = error.strerror or "cannot be used"
            raise ConfigurationError(
                f"PORT: {settings.host}:{settings.port} {why.lower()}; set another, as in"
                " `PORT=8000 make run`"
            ) from error


def _wait_for_threads() -> None:
    """Let the threads of the clients that were closed end: a fork must not happen under them."""
    for thread in threading.enumerate():
        if thread.name.startswith("pymongo_"):
            thread.join(timeout=5)
