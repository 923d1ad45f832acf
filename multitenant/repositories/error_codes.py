"""MongoDB's own error codes, where the driver has no exception for them.

Source: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""

import re

from pymongo.errors import OperationFailure

UNKNOWN_ERROR = 8
USER_NOT_FOUND = 11
UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
NAMESPACE_NOT_FOUND = 26
COMMAND_NOT_FOUND = 59
DATABASE_DROP_PENDING = 215
QUERY_PLAN_KILLED = 175
SNAPSHOT_TOO_OLD = 239
SNAPSHOT_UNAVAILABLE = 246
CHANGE_STREAM_HISTORY_LOST = 286
TRANSACTION_TOO_LARGE = 388
NOT_WRITABLE_PRIMARY = 10107
DUPLICATE_KEY = 11000
USER_ALREADY_EXISTS = 51003

LOGIN_REFUSED = frozenset({AUTHENTICATION_FAILED, USER_NOT_FOUND})
"""One who is dropped while they log in is not found, rather than refused."""

PASSING = frozenset(
    {
        *(6, 7, 89, 9001),  # hosts and networks
        *(91, 11600),  # a server that is shutting down
        # one that is not, or no longer, the primary
        *(189, 10058, NOT_WRITABLE_PRIMARY, 11602, 13435, 13436),
        *(134, 262),  # a majority, or time, that was lacking
        DATABASE_DROP_PENDING,
    }
)
"""Codes of what will have passed. Source: those that drivers retry, in
https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
and retryable-reads.md beside it."""
OUT_OF_DISK_SPACE = 14031

_NO_ROOM = re.compile(r"(27|28|122): ")
"""EFBIG, ENOSPC, EDQUOT, as WiredTiger begins its messages."""


def is_out_of_space(error: OperationFailure) -> bool:
    """Whether the server has no room on its disk for what was to be written. Where a file cannot
    be made or grow, MongoDB has no code for it, and passes the operating system's error on."""
    if error.code == OUT_OF_DISK_SPACE:
        return True
    message = (error.details or {}).get("errmsg", "")
    return error.code == UNKNOWN_ERROR and bool(_NO_ROOM.match(message))
