"""Hashing: how much work a hash may ask for, who is refused, and that nobody's takes as long."""

from typing import Any

import bcrypt
import pytest

from multitenant.errors import RateLimited
from multitenant.security.passwords import MAX_ROUNDS, PasswordHasher


class Tried(list[Any]):
    """What a fake was called with; it always gives the same answer."""

    def __init__(self, answer: object) -> None:
        self._answer = answer

    def __call__(self, argument: object) -> object:
        self.append(argument)
        return self._answer


def test_who_comes_when_all_places_are_taken_is_told_when_to_come_again() -> None:
    hasher = PasswordHasher(rounds=4, parallel=1, waiting=1)
    with hasher._turn(), pytest.raises(RateLimited, match="logins at once") as refused:
        hasher.verify("password", None)
    assert refused.value.retry_after == 2
    assert hasher.verify("password", None) is False, "the place was given back"


def test_a_hash_of_the_highest_cost_that_is_taken_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    hasher, tried = PasswordHasher(rounds=4, parallel=1, waiting=1), Tried(answer=True)
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: tried(hashed))
    highest, too_high = (f"$2b${rounds}${'a' * 53}" for rounds in (MAX_ROUNDS, MAX_ROUNDS + 1))
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


def test_nobodys_password_cannot_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = Tried(answer=b"x")
    monkeypatch.setattr(bcrypt, "hashpw", lambda password, salt: hashed(password))
    for _ in range(2):
        PasswordHasher(rounds=4, parallel=1, waiting=1)
    assert len(set(hashed)) == 2
    assert {len(password) for password in hashed} == {32}
