"""Hashing passwords."""

import threading

import bcrypt
import pytest

from multitenant.config import MAX_BCRYPT_ROUNDS
from multitenant.errors import RateLimited
from multitenant.security.passwords import PasswordHasher


@pytest.fixture
def hasher() -> PasswordHasher:
    return PasswordHasher(rounds=4, parallel=2, waiting=3)


def test_a_password_fits_its_hash_and_no_other(hasher: PasswordHasher) -> None:
    hashed = hasher.hash("correct horse")
    assert hashed.startswith("$2b$04$")
    assert hasher.verify("correct horse", hashed)
    assert not hasher.verify("wrong horse", hashed)


def test_no_hash_never_fits(hasher: PasswordHasher) -> None:
    assert not hasher.verify("anything", None)


@pytest.mark.parametrize("damaged", ["x", "$2b$04$short", "$9z$04$" + "a" * 53])
def test_a_damaged_hash_never_fits(hasher: PasswordHasher, damaged: str) -> None:
    assert not hasher.verify("anything", damaged)


def test_more_than_72_bytes_never_fit_instead_of_being_cut(hasher: PasswordHasher) -> None:
    hashed = hasher.hash("x" * 72)
    assert hasher.verify("x" * 72, hashed)
    assert not hasher.verify("x" * 73, hashed)


def test_hashes_run_two_at_a_time_three_callers_wait_and_one_more_is_refused(
    monkeypatch: pytest.MonkeyPatch, hasher: PasswordHasher
) -> None:
    running, go_on = threading.Semaphore(0), threading.Event()
    most = []

    def hash_slowly(password: bytes, salt: bytes) -> bytes:
        running.release()
        go_on.wait(5)
        most.append(password)
        return b"hash"

    monkeypatch.setattr(bcrypt, "hashpw", hash_slowly)
    threads = [threading.Thread(target=hasher.hash, args=("x",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    assert running.acquire(timeout=5)
    assert running.acquire(timeout=5)
    assert not running.acquire(timeout=0.1), "a third one runs"

    with pytest.raises(RateLimited) as caught:
        hasher.hash("x")
    assert caught.value.retry_after

    go_on.set()
    for thread in threads:
        thread.join()
    assert len(most) == 3
    assert hasher.hash("x") == "hash", "places are given back"


@pytest.mark.parametrize("rounds", ["31", "20", "17"])
def test_a_hash_that_would_take_days_is_nobodys(rounds: str) -> None:
    """Whoever owns a tenant's database may have written it."""
    hasher = PasswordHasher(rounds=4, parallel=1, waiting=1)
    assert hasher.verify("password", f"$2b${rounds}$" + "a" * 53) is False
    assert hasher.verify("password", hasher.hash("password")) is True


def test_a_hash_fits_whatever_the_cost_was_when_it_was_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """BCRYPT_ROUNDS may have been lowered since; one of 16 takes seconds, so it is made up."""
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, hashed: password == b"right")
    hasher = PasswordHasher(rounds=4, parallel=1, waiting=1)
    highest = f"$2b${MAX_BCRYPT_ROUNDS}$" + "a" * 53
    assert hasher.verify("right", highest)
    assert not hasher.verify("wrong", highest)
