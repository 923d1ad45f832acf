"""What subcommands share: a platform to work on, and first-time set-up."""

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from pydantic import SecretStr

from multitenant import create_app
from multitenant.config import Settings, load_settings
from multitenant.embedded import EmbeddedServer
from multitenant.errors import ConfigurationError
from multitenant.extensions import Platform, platform_of
from multitenant.instance import read_or_create
from multitenant.tenancy.deployments.clients import Listener
from multitenant.tenancy.lifecycle.initialisation import initialise, make_up_password

PASSWORD_FILE = "operator-password"  # noqa: S105  # a file name


@contextmanager
def running_database(*, join: bool = True) -> Iterator[Settings]:
    """Yield the settings, with a MongoDB behind ADMIN_DB_URI.

    When that is empty (in development), the embedded server is started and stopped again; with
    `join`, one that a running application has started is used instead.
    """
    settings = load_settings()
    if settings.admin_db_uri.get_secret_value():
        yield settings
        return
    server = EmbeddedServer(
        settings.instance_path / "mongodb", binary=settings.mongod_binary or None
    )
    if join and (uri := server.running_uri()):
        yield settings.model_copy(update={"admin_db_uri": SecretStr(uri)})
        return
    for number in _not_ignored(signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, _exit)  # an orderly end, which stops the server as well
    with server:
        yield settings.model_copy(update={"admin_db_uri": SecretStr(server.uri)})


@contextmanager
def opened_platform(
    settings: Settings, *, listeners: Sequence[Listener] = ()
) -> Iterator[Platform]:
    """Yield a platform for a command's own use, and close its clients."""
    app = create_app(settings, listeners=listeners)
    platform = platform_of(app)
    try:
        with app.app_context():  # tokens are signed in one
            yield platform
    finally:
        platform.close(timeout=0)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Within the block, what ends a process by a signal ends the block first, as exit() does. A
    second signal does not disturb that."""
    numbers = _not_ignored(signal.SIGTERM, signal.SIGHUP)

    def end(number: int, frame: FrameType | None) -> None:
        for one in numbers:
            signal.signal(one, signal.SIG_IGN)
        sys.exit(128 + number)

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _not_ignored(*numbers: signal.Signals) -> list[signal.Signals]:
    """Those that this process was not started to ignore, as nohup does with SIGHUP."""
    return [number for number in numbers if signal.getsignal(number) is not signal.SIG_IGN]


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


def _made_up_password(path: Path) -> str:
    try:
        return read_or_create(path, make_up_password)
    except OSError as error:
        raise ConfigurationError(
            f"INSTANCE_PATH: the first operator's password cannot be kept in {path}"
            f" ({error.strerror}); set OPERATOR_PASSWORD, or a directory that can be written to"
        ) from error


def set_up(settings: Settings) -> None:
    """Bring the admin database up to date and make the first operator, telling the password
    once if it was made up."""
    path = settings.instance_path / PASSWORD_FILE
    with opened_platform(settings) as platform:
        try:
            done = initialise(
                platform.connections,
                platform.provisioner,
                email=settings.operator_email,
                password=settings.operator_password,
                made_up_password=lambda: _made_up_password(path),
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
    if done.operator_email:
        click.echo(f"Made the first operator: {done.operator_email}", err=True)
    if done.operator_password:
        click.echo(f"Their password is {done.operator_password} (kept in {path})", err=True)
