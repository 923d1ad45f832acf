"""How sure a write is once it is acknowledged: a majority of the members has it, so that no
election undoes it, whatever the deployment's default is."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pymongo.write_concern import WriteConcern

MAJORITY = WriteConcern("majority")
CONFIRMED: dict[str, Any] = {"writeConcern": MAJORITY.document}
"""What a command that writes has to say, where it is sent as a command."""
_OF_TRANSACTION = WriteConcern()
_write_concern: ContextVar[WriteConcern] = ContextVar("write_concern", default=MAJORITY)


def write_concern() -> WriteConcern:
    """The write concern of the next operation. In a transaction it has none of its own: MongoDB
    refuses that, and takes the transaction's."""
    return _write_concern.get()


@contextmanager
def left_to_transaction() -> Iterator[None]:
    """Let the operations in the block have no write concern of their own."""
    token = _write_concern.set(_OF_TRANSACTION)
    try:
        yield
    finally:
        _write_concern.reset(token)
