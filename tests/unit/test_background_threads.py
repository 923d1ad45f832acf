"""No exception ends a thread that works in the background."""

import threading

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import OperationFailure

from multitenant.errors import Conflict
from multitenant.tenancy.background import Background
from multitenant.tenancy.lifecycle.tenant_locks import renewing
from tests.support import eventually

ERRORS = [
    OperationFailure("no", 99_999),
    InvalidBSON("year 10000 is out of range"),
    Conflict("is held by another"),
    OSError(24, "Too many open files"),
    KeyError("a bug"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_is_renewed_is_renewed_again_after_an_error(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A lock or a maintenance that was not renewed expires under the command that holds it."""
    renewals = 0

    def renew() -> None:
        nonlocal renewals
        renewals += 1
        raise error

    with renewing(renew, 0.01):
        eventually(lambda: renewals >= 3)
    assert "was not renewed" in caplog.text


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_background_work_is_done_again_after_an_error(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    events = [threading.Event(), threading.Event()]
    left = iter(events)

    def work() -> None:
        next(left).set()
        raise error

    background = Background("some work", work)
    try:
        for event in events:
            background.wake()
            eventually(event.is_set)
    finally:
        background.stop()
    assert "Background work (some work)" in caplog.text
