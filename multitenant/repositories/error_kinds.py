"""Classification of any exception that work with MongoDB can raise."""

import binascii
import socket
import ssl
import struct
import sys
import traceback
import zlib
from collections.abc import Mapping
from typing import Any

from bson.errors import BSONError
from cryptography.exceptions import InvalidTag
from dns.exception import DNSException
from mongoengine.errors import MongoEngineException, NotUniqueError
from pymongo.errors import (
    BulkWriteError,
    ClientBulkWriteException,
    ConfigurationError,
    ConnectionFailure,
    InvalidName,
    OperationFailure,
    ProtocolError,
    PyMongoError,
    WriteConcernError,
    WriteError,
)

from multitenant.errors import BackupError, DecryptionFailed, DomainError
from multitenant.repositories.error_codes import KIND_OF_CODE, Kind

LABELS = ("TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError")

_PASSING = (
    ConnectionFailure,  # networks, pools, no primary, no server in time
    ConfigurationError,  # what a URI leads to: its DNS records, servers that cannot be used
    ProtocolError,
    WriteConcernError,  # whatever its code: it is written, and not confirmed
    *(TimeoutError, ConnectionError, socket.gaierror, ssl.SSLError, DNSException),
    *(DecryptionFailed, InvalidTag, binascii.Error),  # credentials that cannot be used
)
_REFUSED = (BSONError, InvalidName, NotUniqueError)
_PASSING_IN_DRIVER = (
    OSError,  # no more file descriptors, a certificate that cannot be read
    *(struct.error, zlib.error),  # an answer that cannot be read
)
_REFUSED_IN_DRIVER = (UnicodeError, OverflowError)
"""Values that BSON does not have."""
_DRIVER = frozenset({"pymongo", "bson", "gridfs"})
_PLATFORM = "multitenant"


def classify(error: BaseException) -> Kind:
    """Return which kind the exception is: by its class, its labels, and every code in it."""
    if isinstance(error, MongoEngineException) and isinstance(error.__context__, PyMongoError):
        return classify(error.__context__)
    if isinstance(error, BulkWriteError | ClientBulkWriteException):
        return _of_bulk_write(error)
    if isinstance(error, _PASSING) or _is_gevent_timeout(error):
        return Kind.PASSING
    if isinstance(error, _REFUSED):
        return Kind.REFUSED
    if isinstance(error, PyMongoError) and (
        error.timeout or any(error.has_error_label(label) for label in LABELS)
    ):
        return Kind.PASSING
    if isinstance(error, OperationFailure):
        unknown = Kind.REFUSED if isinstance(error, WriteError) else Kind.UNKNOWN
        return KIND_OF_CODE.get(error.code or 0, unknown)
    if _comes_from_driver(error):
        if isinstance(error, _PASSING_IN_DRIVER):
            return Kind.PASSING
        if isinstance(error, _REFUSED_IN_DRIVER):
            return Kind.REFUSED
    return Kind.OURS


def is_expected(error: BaseException) -> bool:
    """Whether the exception says what is wrong with a deployment, its data or what was asked for:
    no bug of the platform, so that nobody needs its traceback."""
    expected = (DomainError, BackupError, PyMongoError, MongoEngineException, OSError)
    return isinstance(error, expected) or classify(error) is not Kind.OURS


def _comes_from_driver(error: BaseException) -> bool:
    """Whether the exception was raised in the driver, or in what the driver has called, and not in
    the platform's own code."""
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)]):
        package = frame.f_globals.get("__name__", "").partition(".")[0]
        if package in _DRIVER:
            return True
        if package == _PLATFORM:
            return False
    return False


def codes_of(error: BaseException) -> set[int]:
    """Return every error code of MongoDB's in the exception, nested ones included."""
    if isinstance(error, MongoEngineException) and error.__context__:
        return codes_of(error.__context__)
    details: Any = getattr(error, "details", None) or {}
    if isinstance(error, BulkWriteError | ClientBulkWriteException):
        nested = [*write_errors(error), *unconfirmed(error)]
        return {_code_of(one) for one in nested} | (
            codes_of(details["error"]) if details.get("error") else set()
        )
    if isinstance(error, OperationFailure):
        return {error.code} if error.code else set()
    return {details["code"]} if isinstance(details, Mapping) and "code" in details else set()


def write_errors(error: BulkWriteError | ClientBulkWriteException) -> list[Any]:
    """Return what was refused of several writes: there may be nothing, where all were done and no
    majority has confirmed it."""
    return list((error.details or {}).get("writeErrors", ()))


def unconfirmed(error: BulkWriteError | ClientBulkWriteException) -> list[Any]:
    """Return why no majority has confirmed what was done of several writes."""
    return list((error.details or {}).get("writeConcernErrors", ()))


def _of_bulk_write(error: BulkWriteError | ClientBulkWriteException) -> Kind:
    """The gravest kind of what the writes met; passing when all were done and not confirmed."""
    kinds = {KIND_OF_CODE.get(_code_of(one), Kind.REFUSED) for one in write_errors(error)}
    if cause := (error.details or {}).get("error"):
        kinds.add(classify(cause))
    if any(error.has_error_label(label) for label in LABELS):
        return Kind.PASSING
    return next(
        (kind for kind in (Kind.OURS, Kind.REFUSED, Kind.UNKNOWN) if kind in kinds), Kind.PASSING
    )


def _code_of(nested: Any) -> int:
    """The code of one nested error, which is a document or an exception."""
    code = nested.code if isinstance(nested, OperationFailure) else nested.get("code")
    return int(code or 0)


def _is_gevent_timeout(error: BaseException) -> bool:
    """Whether gevent gave up; it is imported only where it serves."""
    gevent = sys.modules.get("gevent")
    return gevent is not None and isinstance(error, gevent.Timeout)
