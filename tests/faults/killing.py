"""Doing something in a process that SIGKILL ends, or SIGSTOP stops, at one of its steps.

A step is a command to MongoDB that may change something. Nobody lists them: the process is watched
while nothing happens to it, and then killed at what was seen: before a command is sent, or when it
is on its way and will be done, but nobody is there any more to hear of it. One that is stopped
there goes on when SIGCONT comes, and knows nothing of the time between.
"""

import json
import os
import signal
import socket
import threading
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, NoReturn

from flask_openapi3 import OpenAPI
from pymongo.errors import ExecutionTimeout
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from multitenant import create_app
from multitenant.config import Settings
from multitenant.errors import DomainError
from multitenant.extensions import platform_of

HANGS_SECONDS = 120
NO_STEPS = frozenset(
    {"find", "aggregate", "getMore", "count", "distinct", "listCollections", "listIndexes"}
    | {"listDatabases", "usersInfo", "hello", "ping", "buildInfo", "saslStart", "saslContinue"}
    | {"killCursors", "endSessions"}
)
"""Commands that change nothing. Any other, known here or not, is a step."""
NOBODYS_BUSINESS = "admin.processes"
"""That a process lives is told by any that serves requests."""
Do = Callable[[OpenAPI], None]
"""Something to do with the application of the process in which it is called."""


class Step(NamedTuple):
    """The moment before the nth command of its kind is sent, or when it was."""

    command: str
    number: int
    moment: Literal["before", "sent"]

    def __str__(self) -> str:
        return f"{self.moment} {self.command} #{self.number}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a process has ended, which did not fail."""

    answered: bool
    """Whether it was done when the process ended."""
    killed: bool
    """Otherwise the process never came to that step, and ended by itself."""


@dataclass(frozen=True, slots=True)
class Woken:
    """How a process has ended that was stopped, and went on."""

    stopped: bool
    """Otherwise the process never came to that step."""
    refused: str | None
    """What it was told then; None when it did what it was to do."""


class Killer(CommandListener):
    """Notes the steps of this process, and kills or stops it at one."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: Counter[str] = Counter()
        self._sending = threading.local()
        self.steps: list[Step] = []
        self.fatal: Step | None = None
        self.end: Callable[[], object] = die
        """Called at the fatal step."""

    def started(self, event: CommandStartedEvent) -> None:
        command = self._name(event)
        if event.command_name in NO_STEPS or NOBODYS_BUSINESS in command:
            return
        self._seen[command] += 1
        before = Step(command, self._seen[command], "before")
        sent = before._replace(moment="sent")
        self.steps += [before, sent]
        if self.fatal == before:
            self.end()
        self._sending.last = self.fatal == sent

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...

    def watch_sockets(self) -> None:
        """Kill, or stop, the process as soon as the command of its step was given to the system.
        For good: to be called where nothing else is going to happen."""
        send = socket.socket.sendall

        def sendall(self_: socket.socket, data: Any, flags: int = 0) -> None:
            send(self_, data, flags)
            if getattr(self._sending, "last", False):
                self._sending.last = False
                self.end()

        socket.socket.sendall = sendall  # type: ignore[method-assign,assignment]

    def _name(self, event: CommandStartedEvent) -> str:
        db = event.database_name
        if db == self._settings.admin_db_name:
            db = "admin"
        elif db.startswith(self._settings.tenant_db_prefix):
            db = "tenant"
        collection = event.command.get(event.command_name)
        place = f"{db}.{collection}" if isinstance(collection, str) else db
        return f"{event.command_name} {place}"


class Victim:
    """An application that is built once, and works, and dies, in children of this process."""

    def __init__(self, settings: Settings) -> None:
        self._killer = Killer(settings)
        self._app = create_app(settings, listeners=[self._killer])

    def steps(self, do: Do) -> list[Step]:
        """Do it in a process that is killed just after it was done; return the steps before."""
        told = self._fork(do, None).splitlines()
        assert len(told) == 2, "it was not done"
        return [Step(*step) for step in json.loads(told[1])]

    def killed(self, do: Do, at: Step) -> Outcome:
        """Do it in a process that is killed at the step."""
        told = self._fork(do, at).splitlines()
        return Outcome(answered=b"done" in told, killed=b"ended" not in told)

    def stopped(self, do: Do, at: Step, meanwhile: Callable[[], object]) -> Woken:
        """Do it in a process that is stopped at the step, do `meanwhile` in this one, and let it go
        on."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._killer.end = stand_still
            self._live(do, at, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            _, status = os.waitpid(child, os.WUNTRACED)
            if stopped := os.WIFSTOPPED(status):
                try:
                    meanwhile()
                finally:
                    os.kill(child, signal.SIGCONT)
                told = pipe.read()
                _, status = os.waitpid(child, 0)
            else:
                told = pipe.read()
        assert os.waitstatus_to_exitcode(status) == 0, "the process failed"
        refused = told.partition(b"refused ")[2].splitlines()
        return Woken(stopped, refused[0].decode() if refused else None)

    def _fork(self, do: Do, at: Step | None) -> bytes:
        """Return what the process has told."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            self._live(do, at, writing)
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code == (0 if b"ended" in told else -signal.SIGKILL), f"the process failed: {code}"
        return told

    def _live(self, do: Do, at: Step | None, tell: int) -> NoReturn:
        try:
            signal.alarm(HANGS_SECONDS)
            self._killer.fatal = at
            self._killer.watch_sockets()
            try:
                do(self._app)
            except (DomainError, ExecutionTimeout) as refused:  # or it stood still for too long
                os.write(tell, f"refused {refused!r}\n".encode())
            steps = [*self._killer.steps]
            os.write(tell, b"done\n")
            if at is None:
                os.write(tell, json.dumps(steps).encode())
                die()
            platform_of(self._app).close(timeout=5)
            os.write(tell, b"ended\n")
            os._exit(0)
        except BaseException:  # noqa: BLE001  # the parent is told, and no test runs twice
            traceback.print_exc()
        finally:
            os._exit(1)


def stand_still() -> None:
    """Stop this process, with all its threads, until somebody lets it go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def die() -> NoReturn:
    """End this process as the kernel does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")
