"""MongoDB's own failpoints: what applications of tests send fails, as they are told."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient

Client = MongoClient[dict[str, Any]]

FAILPOINTS = ("failCommand", "onPrimaryTransactionalWrite")


def fail(mongo: Client, mode: Any, *commands: str, **data: Any) -> None:
    """Make these commands of applications fail."""
    data = {"failCommands": list(commands), "appName": "multitenant", **data}
    mongo.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)


def end_faults(mongo: Client) -> int:
    """Let nothing fail any more; return how often something did."""
    return sum(
        mongo.admin.command("configureFailPoint", name, mode="off")["count"] for name in FAILPOINTS
    )


@contextmanager
def failing(mongo: Client, mode: Any, *commands: str, **data: Any) -> Iterator[None]:
    """Make them fail within the block."""
    fail(mongo, mode, *commands, **data)
    try:
        yield
    finally:
        end_faults(mongo)


def count_faults(mongo: Client) -> int:
    """How many commands have failed until now by fail()."""
    command: dict[str, Any] = {"getParameter": 1, "failpoint.failCommand": 1}
    return int(mongo.admin.command(command)["failpoint.failCommand"]["timesEntered"])
