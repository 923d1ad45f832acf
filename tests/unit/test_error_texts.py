"""Errors in words: one line, the codes of MongoDB's, and no documents."""

import pymongo.errors
import pytest

from multitenant.errors import BackupError, Conflict
from multitenant.repositories.error_texts import describe, explain, text_of

REFUSED = {"writeErrors": [{"index": 0, "code": 121, "op": {"password": "hash"}}]}
DETAILS = {"code": 11000, "keyValue": {"email": "victim@acme.example"}, "errmsg": "E11000"}


def test_a_description_has_the_class_and_the_codes() -> None:
    assert describe(pymongo.errors.BulkWriteError(REFUSED)) == "BulkWriteError (121)"
    assert describe(pymongo.errors.OperationFailure("no", 13)) == "OperationFailure (13)"
    assert describe(pymongo.errors.NotPrimaryError("", {"code": 189})) == "NotPrimaryError (189)"
    assert describe(TimeoutError("text")) == "TimeoutError"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            pymongo.errors.BulkWriteError(REFUSED),
            "BulkWriteError: MongoDB has not done all writes (error 121)",
        ),
        (pymongo.errors.DuplicateKeyError("taken", 11000, DETAILS), "DuplicateKeyError: taken"),
        (
            pymongo.errors.ServerSelectionTimeoutError(
                "localhost:1: refused (configured timeouts: connectTimeoutMS: 20000.0ms), Timeout:"
                " 30s, Topology Description: <…>"
            ),
            "ServerSelectionTimeoutError: localhost:1: refused",
        ),
        (pymongo.errors.NetworkTimeout(), "NetworkTimeout: no answer in time"),
        (TimeoutError("first line\nsecond  line"), "TimeoutError: first line second line"),
        (TimeoutError(), "TimeoutError"),
        (BackupError("the file is damaged"), "the file is damaged"),
        (Conflict("is busy"), "is busy"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_operators_are_told_in_one_line_and_without_documents(error: Exception, text: str) -> None:
    assert explain(error) == text
    assert text.endswith(text_of(error))
