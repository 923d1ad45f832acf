"""What MongoDB may do to a request, by its own failpoints, at any one of the request's commands.

The commands are found by watching a request that succeeds. The next one of its kind meets the
fault at its nth command: the failpoint is set when that command is about to be sent.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from pymongo.monitoring import CommandStartedEvent

from multitenant.tenancy.deployments.isolation import HOUSEKEEPING
from tests.failpoints import Client, fail
from tests.support import CommandRecorder, in_thread

UNANSWERED = {
    *("createIndexes", "createUser", "dropUser", "dropDatabase"),
    *("dropAllUsersFromDatabase", "delete", "update"),
}
"""Writes that take a write concern, and to whose repetition MongoDB gives no number."""


@dataclass(frozen=True, slots=True)
class Step:
    """A command that a request sends."""

    database: str
    command: str
    collection: str | None
    in_transaction: bool
    numbered: bool
    """Whether MongoDB knows it again when it is sent twice."""

    @classmethod
    def of(cls, event: CommandStartedEvent) -> "Step":
        """The step that the event tells of."""
        target = event.command.get(event.command_name)
        return cls(
            event.database_name,
            event.command_name,
            target if isinstance(target, str) else None,
            event.command.get("autocommit") is False,
            "txnNumber" in event.command,
        )


@dataclass
class Watch:
    """The steps of one request; before the one at `at`, `interfere` is called once."""

    at: int | None = None
    interfere: Callable[[Step], None] = lambda _: None
    steps: list[Step] = field(default_factory=list)

    def started(self, event: CommandStartedEvent) -> None:
        """Take note of a command, in the thread that is about to send it."""
        if event.command_name in HOUSEKEEPING - {"commitTransaction", "ping"}:
            return
        self.steps.append(Step.of(event))
        if len(self.steps) - 1 == self.at:
            # In a thread of its own: here another client would be taken for the transaction's.
            in_thread(lambda: self.interfere(self.steps[-1]))


_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


def watch_with(recorder: CommandRecorder) -> None:
    """Let watched() see what this application's recorder sees."""

    def tell(event: CommandStartedEvent) -> None:
        if watch := _watch.get():
            watch.started(event)

    recorder.on_start = tell


@contextmanager
def watched(watch: Watch) -> Iterator[None]:
    """Watch the commands of this thread, and of those that work for it, but no other's."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


@dataclass(frozen=True)
class Fault:
    """Something that happens once, at a step."""

    name: str
    begin: Callable[[Client, Step], None]
    fits: Callable[[Step], bool] = lambda _: True
    by_command: bool = False
    """Whether it is no failpoint, which would count."""

    def __str__(self) -> str:
        return self.name


def _failing(**data: Any) -> Callable[[Client, Step], None]:
    """Make the step's command fail once."""

    def begin(mongo: Client, step: Step) -> None:
        fail_at(mongo, step, **data)

    return begin


def fail_at(mongo: Client, step: Step, **data: Any) -> None:
    """Make the step's command fail once, and no other collection's."""
    where = {"namespace": f"{step.database}.{step.collection}"} if step.collection else {}
    fail(mongo, {"times": 1}, step.command, **where, **data)


def _lose_answer(mongo: Client, step: Step) -> None:
    """Do what the step wants, and do not say so."""
    if step.numbered:
        mongo.admin.command("configureFailPoint", "onPrimaryTransactionalWrite", mode={"times": 1})
    else:
        _failing(writeConcernError={"code": 91, "errmsg": "shutting down"})(mongo, step)


def _step_down(mongo: Client, _: Step) -> None:
    """Have no primary, and an election."""
    mongo.admin.command("replSetStepDown", 60, force=True, secondaryCatchUpPeriodSecs=0)
    mongo.admin.command("replSetFreeze", 0)


def _is_commit(step: Step) -> bool:
    return step.command == "commitTransaction"


def _answer_can_be_lost(step: Step) -> bool:
    return not step.in_transaction and (step.numbered or step.command in UNANSWERED)


ONCE = [
    Fault("connection closed", _failing(closeConnection=True)),
    Fault("not the primary", _failing(errorCode=10107)),
    Fault(
        "not the primary, and no word of trying again",
        _failing(errorCode=10107, errorLabels=[]),
        lambda step: step.numbered and not step.in_transaction,
    ),
    Fault("interrupted by an election", _failing(errorCode=11602)),
    Fault("shutting down", _failing(errorCode=91)),
    Fault("write conflict", _failing(errorCode=112), lambda step: step.in_transaction),
    Fault("answer lost", _lose_answer, _answer_can_be_lost),
    Fault(
        "commit unknown",
        _failing(writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"}),
        _is_commit,
    ),
    Fault("election", _step_down, by_command=True),
]
"""After each of which a request must succeed all the same."""

ALWAYS: Mapping[str, dict[str, Any]] = {
    "connection closed": {"closeConnection": True},
    "not the primary": {"errorCode": 10107},
    "slow": {"blockConnection": True, "blockTimeMS": 2500},
}
"""Under which no request can succeed that needs the database."""
EVERY_COMMAND = (
    *("find", "aggregate", "insert", "update", "delete", "findAndModify", "listCollections"),
    *("createIndexes", "create", "listIndexes", "createUser", "dropUser", "usersInfo"),
    *(
        "dropDatabase",
        "dropAllUsersFromDatabase",
        "commitTransaction",
        "ping",
        "dbStats",
        "getMore",
    ),
)
