"""MongoDB's own error codes, where the driver has no exception for them.

Source: https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml
"""

UNAUTHORIZED = 13
AUTHENTICATION_FAILED = 18
COMMAND_NOT_FOUND = 59
DATABASE_DROP_PENDING = 215
QUERY_PLAN_KILLED = 175
SNAPSHOT_TOO_OLD = 239
SNAPSHOT_UNAVAILABLE = 246
CHANGE_STREAM_HISTORY_LOST = 286
TRANSACTION_TOO_LARGE = 388
DUPLICATE_KEY = 11000
USER_ALREADY_EXISTS = 51003

PASSING = frozenset(
    {
        *(6, 7, 89, 9001),  # hosts and networks
        *(91, 11600),  # a server that is shutting down
        *(189, 10058, 10107, 11602, 13435, 13436),  # one that is not, or no longer, the primary
        *(134, 262),  # a majority, or time, that was lacking
        DATABASE_DROP_PENDING,
    }
)
"""Codes of what will have passed. Source: those that drivers retry, in
https://github.com/mongodb/specifications/blob/master/source/retryable-writes/retryable-writes.md
and retryable-reads.md beside it."""
