"""Errors in words: for the log, and for operators. None of them has a document in it."""

import re

from pymongo.errors import BulkWriteError, PyMongoError

from multitenant.errors import BackupError, DecryptionFailed, DomainError
from multitenant.repositories.error_kinds import codes_of

TOLD = (BackupError, DecryptionFailed, DomainError)
"""Their messages are for operators, and say all there is to say."""
_TECHNICAL = re.compile(r"(, Timeout: | \(configured timeouts|,? full error: ).*", re.DOTALL)
"""What only helps PyMongo's developers; a full error may hold documents."""


def describe(error: BaseException) -> str:
    """Return the class of the exception and the error codes in it, for the log."""
    codes = list_codes(error)
    return f"{type(error).__name__} ({codes})" if codes else type(error).__name__


def list_codes(error: BaseException) -> str:
    """Return MongoDB's error codes in the exception; an empty string where there are none."""
    return ", ".join(map(str, sorted(codes_of(error))))


def text_of(error: BaseException) -> str:
    """Return the exception's own text in one line."""
    if isinstance(error, BulkWriteError):
        return f"MongoDB has not done all writes (error {list_codes(error)})"
    text = " ".join(_TECHNICAL.sub("", str(error)).split())
    if not text and isinstance(error, PyMongoError) and error.timeout:
        return "no answer in time"
    return text


def explain(error: BaseException) -> str:
    """Return one line that tells an operator what has gone wrong."""
    text = text_of(error)
    if isinstance(error, TOLD):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
