"""Doing once more what MongoDB has not done for a reason that passes."""

from collections.abc import Callable
from typing import TypeVar

from pymongo.errors import PyMongoError

from multitenant.repositories.error_codes import Kind
from multitenant.repositories.error_kinds import classify

T = TypeVar("T")


def is_passing(error: BaseException) -> bool:
    """Whether the next attempt may succeed: there was no answer (in time), no primary, or something
    in the way that will be gone."""
    return classify(error) is Kind.PASSING


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
