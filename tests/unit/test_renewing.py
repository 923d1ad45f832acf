"""What is renewed in a thread of its own, whatever an attempt raises."""

import threading

import pytest

from multitenant.tenancy.lifecycle.tenant_locks import renewing


@pytest.mark.parametrize("error", [ValueError, KeyError, OSError, RuntimeError])
def test_an_attempt_that_fails_is_followed_by_the_next(error: type[Exception]) -> None:
    attempts = 0
    again = threading.Event()

    def renew() -> None:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            raise error
        again.set()

    with renewing(renew, 0.001):
        assert again.wait(60)
