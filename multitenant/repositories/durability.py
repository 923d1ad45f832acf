"""How sure a write is once it is acknowledged: a majority of the members has it, so that no
election undoes it, whatever the deployment's default is."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pymongo.database import Database
from pymongo.errors import WriteConcernError
from pymongo.write_concern import WriteConcern

MAJORITY = WriteConcern("majority")
_in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)


def write_concern(given: WriteConcern = MAJORITY) -> WriteConcern:
    """The write concern of the next operation: a majority, unless another one was given. In a
    transaction it has none of its own: MongoDB refuses that, and takes the transaction's."""
    if _in_transaction.get():
        return WriteConcern()
    return MAJORITY if given.is_server_default else given


@contextmanager
def left_to_transaction() -> Iterator[None]:
    """Let the operations in the block have no write concern of their own."""
    token = _in_transaction.set(True)
    try:
        yield
    finally:
        _in_transaction.reset(token)


def run_confirmed(db: Database[Any], command: Mapping[str, Any]) -> None:
    """Run a command that writes, and return when a majority has it. Raises PyMongo's errors, also
    WriteConcernError where it was done and is not confirmed: `Database.command()` takes such an
    answer for success."""
    reply = db.command({**command, "writeConcern": MAJORITY.document})
    if unconfirmed := reply.get("writeConcernError"):
        raise WriteConcernError(unconfirmed["errmsg"], unconfirmed["code"], unconfirmed)
