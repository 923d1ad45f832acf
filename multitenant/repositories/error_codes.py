"""MongoDB's error codes: those that the code names, and which kind each of them all is.

The table is `error_codes.csv` beside this file: every code of MongoDB's own list, and what older
servers send, with its name, its kind and MongoDB's categories. ADR 30 says how kinds are assigned.
Source: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""

import csv
import re
from enum import StrEnum
from importlib.resources import files
from typing import Final

from pymongo.errors import OperationFailure

UNKNOWN_ERROR = 8
USER_NOT_FOUND = 11
UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
NAMESPACE_NOT_FOUND = 26
COMMAND_NOT_FOUND = 59
QUERY_PLAN_KILLED = 175
SNAPSHOT_TOO_OLD = 239
SNAPSHOT_UNAVAILABLE = 246
CHANGE_STREAM_HISTORY_LOST = 286
NOT_WRITABLE_PRIMARY = 10107
DUPLICATE_KEY = 11000
OUT_OF_DISK_SPACE = 14031
USER_ALREADY_EXISTS = 51003

TRANSACTION_TOO_LARGE = frozenset({257, 388})
"""For the log of changes, and for the cache."""
CANNOT_RESUME = frozenset({136, 260, 280, CHANGE_STREAM_HISTORY_LOST, 346})
"""A change stream cannot go on from where it was: the oplog is shorter, or the token is not one."""
LOGIN_REFUSED = frozenset({AUTHENTICATION_FAILED, USER_NOT_FOUND})
"""One who is dropped while they log in is not found, rather than refused."""


class Kind(StrEnum):
    """Whose an error is, which decides what is done about it."""

    PASSING = "passing"
    """The deployment's: of its state, not of what was sent. The same may succeed later."""
    REFUSED = "refused"
    """The data's: what was sent, or what is stored, does not allow it."""
    UNKNOWN = "unknown"
    """In no list: of a newer server, or of one that is not quite MongoDB."""
    OURS = "ours"
    """The platform's: MongoDB does not take such a command."""


def _read_table() -> dict[int, Kind]:
    table = files(__package__).joinpath("error_codes.csv").read_text(encoding="utf-8")
    return {int(row["code"]): Kind(row["kind"]) for row in csv.DictReader(table.splitlines())}


KIND_OF_CODE: Final = _read_table()

_NO_ROOM = re.compile(r"(27|28|122): ")
"""EFBIG, ENOSPC, EDQUOT, as WiredTiger begins its messages."""


def is_out_of_space(error: OperationFailure) -> bool:
    """Whether the server has no room on its disk for what was to be written. Where a file cannot
    be made or grow, MongoDB has no code for it, and passes the operating system's error on."""
    if error.code == OUT_OF_DISK_SPACE:
        return True
    message = (error.details or {}).get("errmsg", "")
    return error.code == UNKNOWN_ERROR and bool(_NO_ROOM.match(message))
