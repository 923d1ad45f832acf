"""`multitenant run`."""

import os
import signal
import sys
from types import FrameType
from typing import Any

import click
from gunicorn.app.base import Application

from multitenant.cli.platform import running_database, set_up


class Server(Application):  # type: ignore[misc]  # gunicorn has no type hints
    """gunicorn in this process, serving create_app()."""

    def init(self, parser: Any, opts: Any, args: Any) -> None:
        """Take nothing from the command line."""

    def load_config(self) -> None:
        """Read this package's configuration."""
        self.load_config_from_module_name_or_filename("python:multitenant.gunicorn_config")

    def load(self) -> Any:
        """Build the application; runs in each worker."""
        from multitenant import create_app

        return create_app()


@click.command()
def run() -> None:
    r"""Serve the application with gunicorn.

    Without ADMIN_DB_URI (development only) it starts a real MongoDB of its own, which keeps its
    data in INSTANCE_PATH and stops with the application. It applies the admin database's
    migrations and makes the first operator, whose password it prints once.

    \b
    Examples:
      multitenant run
      PORT=8000 WORKERS=4 multitenant run
    """
    # Until gunicorn has its own handlers, a signal ends this process in the orderly way.
    signal.signal(signal.SIGTERM, _exit)
    with running_database() as settings:
        set_up(settings)
        os.environ["ADMIN_DB_URI"] = settings.admin_db_uri.get_secret_value()
        click.echo(f"Serving on http://{settings.host}:{settings.port}", err=True)
        Server().run()


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)
