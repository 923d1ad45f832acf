"""What MongoDB does for a command: which index it uses, and how much it looks at."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pymongo.monitoring import CommandStartedEvent

from multitenant.repositories.model import MongoDatabase
from tests.conftest import Client
from tests.support import CommandRecorder, in_thread

EXPLAINED = ("find", "aggregate", "count", "distinct", "update", "delete", "findAndModify")
# What belongs to the sending of a command.
NOT_EXPLAINED = {
    *("lsid", "txnNumber", "startTransaction", "autocommit", "writeConcern", "readConcern"),
    *("$db", "$clusterTime", "$readPreference", "maxTimeMS"),
}


@dataclass(frozen=True)
class Plan:
    """One command's."""

    command: Mapping[str, Any]
    stages: frozenset[str]
    keys: int
    documents: int
    results: int
    """How many documents it returns, changes or removes."""


@contextmanager
def plans_of(recorder: CommandRecorder, mongo: Client) -> Iterator[list[Plan]]:
    """Collect the plan of every command that is sent within the block, as it is sent."""
    plans: list[Plan] = []
    errors: list[Exception] = []

    def explain(event: CommandStartedEvent) -> None:
        if event.command_name not in EXPLAINED:
            return
        try:
            # In a thread, which has no part in the session of a transaction.
            db = mongo[event.database_name]
            plans.extend(in_thread(lambda: [plan_of(db, one) for one in _each(event.command)]))
        except Exception as error:  # noqa: BLE001  # PyMongo would drop it
            errors.append(error)

    recorder.on_start, before = explain, recorder.on_start
    try:
        yield plans
    finally:
        recorder.on_start = before
    if errors:
        raise ExceptionGroup("a command could not be explained", errors)


def _each(command: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The command, or one for each of the writes that it is a batch of."""
    for writes in ("updates", "deletes"):
        if writes in command:
            return [{**command, writes: [write]} for write in command[writes]]
    return [command]


def plan_of(db: MongoDatabase, command: Mapping[str, Any]) -> Plan:
    """Have the command executed without effect, and see how."""
    bare = {name: value for name, value in command.items() if name not in NOT_EXPLAINED}
    told = db.command({"explain": bare, "verbosity": "executionStats"})
    parts = list(_parts(told))
    # A $lookup counts what it examines itself, and returns what the stage after it sees.
    counted = [part for part in parts if "totalDocsExamined" in part]
    returned = [part for part in counted if "executionStages" in part]
    changed = [part for part in parts if part.get("stage") in ("UPDATE", "DELETE", "COUNT")]
    return Plan(
        command,
        frozenset(part["stage"] for part in parts if isinstance(part.get("stage"), str)),
        keys=_total(counted, "totalKeysExamined"),
        documents=_total(counted, "totalDocsExamined"),
        results=_total(returned, "nReturned")
        + sum(_total(changed, name) for name in ("nMatched", "nWouldDelete", "nCounted")),
    )


def _parts(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every part of an explanation, but plans that were not used."""
    if isinstance(value, Mapping):
        yield value
        for name, inner in value.items():
            if name not in ("rejectedPlans", "allPlansExecution", "command"):
                yield from _parts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _parts(inner)


def _total(parts: list[Mapping[str, Any]], name: str) -> int:
    return sum(int(part.get(name, 0)) for part in parts)
