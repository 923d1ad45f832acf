"""Errors of MongoDB's that pass: the next attempt may succeed."""

from collections.abc import Callable
from typing import TypeVar

from pymongo.errors import ConnectionFailure, OperationFailure, PyMongoError

from multitenant.repositories.error_codes import PASSING

T = TypeVar("T")
LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")


def is_passing(error: PyMongoError) -> bool:
    """Whether the error says that there was no answer (in time), no primary, or something in the
    way that will be gone soon."""
    return (
        error.timeout
        or isinstance(error, ConnectionFailure)
        or (isinstance(error, OperationFailure) and error.code in PASSING)
        or any(error.has_error_label(label) for label in LABELS)
    )


def done_again(work: Callable[[], T]) -> T:
    """Run `work`, which may be done twice, and return its result; run it once more where the
    first time met an error that passes.

    For what PyMongo does not repeat by itself: it does so with reads and with writes to one
    document, until the time for an operation is over.
    """
    try:
        return work()
    except PyMongoError as error:
        if error.timeout or not is_passing(error):
            raise
    return work()
