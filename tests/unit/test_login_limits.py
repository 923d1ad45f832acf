"""Counting logins while the admin database does not answer."""

import time
from typing import NoReturn

import pytest
from pymongo.errors import AutoReconnect

from multitenant.errors import RateLimited
from multitenant.tenancy.users.login_limits import LoginLimits


def test_one_count_that_fails_is_enough_to_count_here() -> None:
    """A login must not wait for the database once for each address, email and limit."""
    asked = []

    def nobody() -> NoReturn:
        asked.append(1)
        raise AutoReconnect

    limits = LoginLimits("2 per minute;9 per hour", nobody, time.time, seconds=1)
    limits.count("192.0.2.1", "ann@acme.example")
    assert len(asked) == 1
    limits.count("192.0.2.1", "ann@acme.example")
    with pytest.raises(RateLimited):
        limits.count("192.0.2.1", "ann@acme.example")
