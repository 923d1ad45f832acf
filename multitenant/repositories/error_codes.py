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
