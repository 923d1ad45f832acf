"""Change streams, where PyMongo does not tell otherwise."""

from typing import Any

from pymongo.synchronous.change_stream import ChangeStream


def has_more(stream: ChangeStream[Any]) -> bool:
    """Whether another change has arrived with the last answer, so that the next try_next() asks
    the server nothing."""
    return bool(stream._cursor._has_next())  # noqa: SLF001
