"""Hashing: how much work a hash may ask for, who is refused, and that nobody's takes as long."""

from typing import Any

import bcrypt
import pytest

from multitenant.config import MAX_BCRYPT_ROUNDS
from multitenant.errors import RateLimited
from multitenant.security.passwords import PasswordHasher


class Tried(list[Any]):
    """What a fake was called with; it always gives the same answer."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def __call__(self, argument: object) -> object:
        self.append(argument)
        return self._answer


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_again() -> None:
    hasher = PasswordHasher(rounds=4, parallel=1, waiting=1)
    with (
        hasher._queue.turn("acme"),
        pytest.raises(RateLimited, match="Too many passwords are being checked") as refused,
    ):
        hasher.verify("password", None, "acme")
    assert refused.value.retry_after == 2
    assert hasher.verify("password", None) is False, "the place was given back"


def test_a_hash_of_the_highest_cost_that_is_taken_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher, tried = PasswordHasher(rounds=4, parallel=1, waiting=1), Tried(answer=True)
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: tried(hashed))
    costs = (MAX_BCRYPT_ROUNDS, MAX_BCRYPT_ROUNDS + 1)
    highest, too_high = (f"$2b${rounds}${'a' * 53}" for rounds in costs)
    assert hasher.verify("password", highest) is True
    assert hasher.verify("password", too_high) is False
    assert tried == [highest.encode(), hasher._nobodys.encode()]


@pytest.mark.parametrize("hashed", [None, "", "no hash"])
def test_what_fits_nobody_takes_the_time_of_a_hash_and_is_refused_whatever_it_is(
    monkeypatch: pytest.MonkeyPatch, hashed: str | None
) -> None:
    hasher, tried = PasswordHasher(rounds=4, parallel=1, waiting=1), Tried(answer=True)
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: tried(hashed))
    assert hasher.verify("password", hashed) is False
    assert tried == [hasher._nobodys.encode()]


def test_a_cheaper_hash_takes_the_time_of_one_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher, tried = PasswordHasher(rounds=7, parallel=1, waiting=1), Tried(answer=b"")
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: True)
    monkeypatch.setattr(bcrypt, "hashpw", lambda password, salt: tried((password, salt[:7])))
    for rounds, more in (("04", [b"$2b$04$", b"$2b$05$", b"$2b$06$"]), ("07", []), ("08", [])):
        assert hasher.verify("password", f"$2b${rounds}${'a' * 53}") is True
        assert tried == [(b"password", salt) for salt in more]
        tried.clear()


def test_nobodys_password_cannot_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = Tried(answer=b"x")
    monkeypatch.setattr(bcrypt, "hashpw", lambda password, salt: hashed(password))
    for _ in range(2):
        PasswordHasher(rounds=4, parallel=1, waiting=1)
    assert len(set(hashed)) == 2
    assert {len(password) for password in hashed} == {32}
