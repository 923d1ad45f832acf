"""Every error that work with MongoDB can raise is of one kind: passing, refused, or ours."""

import binascii
import csv
import socket
import ssl
import struct
import zlib
from importlib.resources import files
from types import FunctionType
from typing import Any

import bson.errors
import dns.exception
import dns.resolver
import gevent
import mongoengine.errors
import pymongo.errors
import pytest
from cryptography.exceptions import InvalidTag
from pymongo.helpers_shared import _RETRYABLE_ERROR_CODES

from multitenant.errors import DecryptionFailed
from multitenant.repositories.error_codes import KIND_OF_CODE, Kind
from multitenant.repositories.error_kinds import classify, codes_of
from multitenant.repositories.retries import is_passing

TABLE: list[dict[str, Any]] = [
    {**row, "code": int(row["code"]), "categories": frozenset(row["categories"].split())}
    for row in csv.DictReader(
        files("multitenant.repositories")
        .joinpath("error_codes.csv")
        .read_text(encoding="utf-8")
        .splitlines()
    )
]
DECISIVE = {
    Kind.PASSING: {
        *("RetriableError", "NetworkError", "NetworkTimeoutError", "NotPrimaryError"),
        *("ShutdownError", "Interruption", "CancellationError", "ExceededTimeLimitError"),
        *("WriteConcernError", "SnapshotError", "CursorInvalidatedError", "CloseConnectionError"),
        *("StaleShardVersionError", "NeedRetargettingError", "SystemOverloadedError"),
        *("NonResumableChangeStreamError", "StreamProcessorRetryableError", "InternalOnly"),
        *("StreamProcessorUserError", "PlannerEstimationError"),
    },
    Kind.REFUSED: {"ValidationError"},
    Kind.OURS: {
        *("IDLParseError", "VersionedAPIError", "ConnectionFatalMessageParseError"),
    },
}
"""MongoDB's categories that decide which kind a code is."""
CODES = [row["code"] for row in TABLE]


def of_command(code: int | None, **details: Any) -> pymongo.errors.OperationFailure:
    return pymongo.errors.OperationFailure("of a command", code, {"code": code, **details})


def of_bulk(
    *codes: int, unconfirmed: tuple[int, ...] = (), **details: Any
) -> pymongo.errors.BulkWriteError:
    return pymongo.errors.BulkWriteError(
        {
            "writeErrors": [{"index": 0, "code": code, "op": {"a": 1}} for code in codes],
            "writeConcernErrors": [{"code": code, "errmsg": "why"} for code in unconfirmed],
            **details,
        }
    )


def wrapped(error: Exception, wrapper: type[Exception]) -> Exception:
    """What MongoEngine makes of the driver's error, by raising its own where it handles that."""
    outer = wrapper("could not save")
    outer.__context__ = error
    return outer


class TestTheTable:
    def test_has_every_code_once(self) -> None:
        assert len(CODES) == len(set(CODES)) == len(KIND_OF_CODE)
        assert set(KIND_OF_CODE) == set(CODES)
        assert len(CODES) > 480

    @pytest.mark.parametrize("kind", DECISIVE)
    def test_says_what_the_categories_of_mongodb_say(self, kind: Kind) -> None:
        decided = [row for row in TABLE if row["categories"] & DECISIVE[kind]]
        assert decided
        assert [row for row in decided if row["kind"] != kind] == []

    def test_takes_for_passing_whatever_drivers_retry(self) -> None:
        assert {KIND_OF_CODE[code] for code in _RETRYABLE_ERROR_CODES} == {Kind.PASSING}

    def test_decides_wherever_the_code_is(self) -> None:
        for code, kind in KIND_OF_CODE.items():
            errors = [
                of_command(code),
                pymongo.errors.WriteError("of a write", code, {"code": code}),
                of_bulk(code),
                of_bulk(91, code),
                of_bulk(code, unconfirmed=(64,)),
                wrapped(of_command(code), mongoengine.errors.OperationError),
            ]
            assert {classify(error) for error in errors} == {kind}, code
            assert all(code in codes_of(error) for error in errors), code

    def test_does_not_matter_where_only_confirmation_is_missing(self) -> None:
        """The write was done; whatever keeps it from a majority is the deployment's."""
        for code in KIND_OF_CODE:
            error = pymongo.errors.WriteConcernError("no majority", code)
            assert classify(error) is classify(of_bulk(unconfirmed=(code,))) is Kind.PASSING, code
            assert codes_of(of_bulk(unconfirmed=(code,))) == {code}


def test_the_gravest_of_several_errors_decides() -> None:
    assert classify(of_bulk(91, 11000)) is Kind.REFUSED
    assert classify(of_bulk(11000, 9)) is Kind.OURS
    assert classify(of_bulk(11000, unconfirmed=(64, 100))) is Kind.REFUSED
    assert classify(of_bulk()) is Kind.PASSING


def test_an_unknown_code_of_one_document_is_the_documents() -> None:
    """Such as 16755, "Can't extract geo keys", which is in no list."""
    assert classify(of_bulk(16755)) is Kind.REFUSED
    assert classify(pymongo.errors.WriteError("no", 16755, {})) is Kind.REFUSED


def test_an_unknown_code_of_a_command_has_a_kind_of_its_own() -> None:
    """It is no bug of the platform, and nothing says that it passes: it is not done once more."""
    for code in (99_999, None):
        assert classify(of_command(code)) is Kind.UNKNOWN
        assert not is_passing(of_command(code))


@pytest.mark.parametrize(
    "label",
    ["TransientTransactionError", "UnknownTransactionCommitResult", "RetryableWriteError"],
)
def test_a_label_that_allows_another_attempt_outweighs_the_code(label: str) -> None:
    assert classify(of_command(9, errorLabels=[label])) is Kind.PASSING
    assert classify(of_bulk(9, errorLabels=[label])) is Kind.PASSING


def _of_dns(kind: type[Exception]) -> Exception:
    """What PyMongo makes of a failed look-up."""
    cause = kind()
    error = pymongo.errors.ConfigurationError(str(cause))
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        pymongo.errors.AutoReconnect("connection closed"),
        pymongo.errors.NotPrimaryError("not primary", {"code": 10107}),
        pymongo.errors.NetworkTimeout("timed out"),
        pymongo.errors.ServerSelectionTimeoutError("no primary"),
        pymongo.errors.WaitQueueTimeoutError("no connection in time"),
        pymongo.errors.ExecutionTimeout("out of time", 50),
        pymongo.errors.CursorNotFound("gone", 43),
        pymongo.errors.WTimeoutError("no majority in time", 64),
        pymongo.errors.ProtocolError("not MongoDB's protocol"),
        pymongo.errors.ConfigurationError("Sessions are not supported by this deployment"),
        _of_dns(dns.resolver.NoNameservers),
        _of_dns(dns.resolver.NXDOMAIN),
        _of_dns(dns.exception.DNSException),
        TimeoutError(),
        ConnectionResetError(),
        socket.gaierror(),
        ssl.SSLError(),
        gevent.Timeout(1),
        InvalidTag(),
        binascii.Error(),
        DecryptionFailed("dbUri of a tenant"),
        wrapped(pymongo.errors.AutoReconnect("closed"), mongoengine.errors.OperationError),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_comes_of_the_deployments_state_passes(error: BaseException) -> None:
    assert classify(error) is Kind.PASSING


@pytest.mark.parametrize("kind", [dns.exception.Timeout, dns.resolver.NXDOMAIN])
def test_what_dns_says_passes(kind: type[Exception]) -> None:
    assert classify(kind()) is Kind.PASSING


@pytest.mark.parametrize(
    "error",
    [
        pymongo.errors.DuplicateKeyError("taken", 11000),
        pymongo.errors.DocumentTooLarge("over 16 MiB"),
        pymongo.errors.InvalidName("collection names cannot contain '..'"),
        bson.errors.InvalidBSON("year 10000 is out of range"),
        bson.errors.InvalidDocument("cannot encode"),
        bson.errors.InvalidStringData("not UTF-8"),
        mongoengine.errors.NotUniqueError("taken"),
        wrapped(
            pymongo.errors.DuplicateKeyError("taken", 11000), mongoengine.errors.NotUniqueError
        ),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_comes_of_the_data_is_refused(error: BaseException) -> None:
    assert classify(error) is Kind.REFUSED


@pytest.mark.parametrize(
    "error",
    [
        pymongo.errors.InvalidOperation("no"),
        mongoengine.errors.OperationError("no"),
        wrapped(KeyError("no"), mongoengine.errors.OperationError),
        KeyError("no"),
        OSError("no such file"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_everything_else_is_a_bug(error: BaseException) -> None:
    assert classify(error) is Kind.OURS


def raised_by(module: str, error: Exception) -> Exception:
    """The error, after a function of that module has raised it."""

    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        FunctionType(fail.__code__, {"__name__": module})(error)
    return raised.value


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(24, "Too many open files"), Kind.PASSING),
        (struct.error("unpack requires a buffer of 4 bytes"), Kind.PASSING),
        (zlib.error("incorrect header check"), Kind.PASSING),
        (OverflowError("MongoDB can only handle up to 8-byte ints"), Kind.REFUSED),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"), Kind.REFUSED),
        (KeyError("cursor"), Kind.OURS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_python_raises_has_a_kind_where_the_driver_was_at_work(
    error: Exception, kind: Kind
) -> None:
    assert classify(error) is Kind.OURS
    assert classify(raised_by("multitenant.services.orders", error)) is Kind.OURS
    error.__traceback__ = None
    assert classify(raised_by("pymongo.synchronous.pool", error)) is kind


@pytest.mark.parametrize("value", [2**64, "\ud800"])
def test_a_value_that_bson_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises((OverflowError, UnicodeError)) as raised:
        bson.encode({"a": value})
    assert classify(raised.value) is Kind.REFUSED
