"""Whatever checks a password is limited as logins are, and no tenant takes all hashing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from werkzeug.test import TestResponse

from multitenant.security.passwords import PasswordHasher
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal


def change_password(user: User, current: str, *, address: str) -> TestResponse:
    return user.put(
        "/api/users/me/password",
        {"currentPassword": current, "newPassword": "another password"},
        environ_base={"REMOTE_ADDR": address},
    )


def try_login(world: World, email: str, *, address: str) -> TestResponse:
    body = {"email": email, "password": "a wrong one"}
    return world.client.post("/api/login", json=body, environ_base={"REMOTE_ADDR": address})


def test_a_stolen_token_does_not_let_anybody_guess_the_password(make_world: MakeWorld) -> None:
    world = make_world(login_rate_limit="6 per minute")
    owner = world.tenant("Acme")
    for number in range(5):
        wrong = change_password(owner, f"guess {number}", address=f"203.0.113.{number}")
        refusal(wrong, 401, "credentials_invalid")
    right = change_password(owner, PASSWORD, address="203.0.113.99")
    refusal(right, 429, "rate_limited")
    assert int(right.headers["Retry-After"]) > 0
    refusal(try_login(world, "owner@acme.example", address="203.0.113.98"), 429, "rate_limited")


def test_guesses_from_one_address_count_as_its_logins(make_world: MakeWorld) -> None:
    world = make_world(login_rate_limit="6 per minute")
    owner = world.tenant("Acme")
    for _ in range(3):
        change_password(owner, "a wrong one", address="203.0.113.7")
    for number in range(3):
        tried = try_login(world, f"u{number}@acme.example", address="203.0.113.7")
        refusal(tried, 401, "credentials_invalid")
    refusal(change_password(owner, PASSWORD, address="203.0.113.7"), 429, "rate_limited")


@contextmanager
def slow_hashing(monkeypatch: pytest.MonkeyPatch, hasher: PasswordHasher) -> Iterator[Any]:
    """Let every check of a password wait until the block ends; yields what counts those that do."""
    started, go_on = threading.Semaphore(0), threading.Event()

    def check(password: bytes, hashed: str) -> bool:
        started.release()
        go_on.wait(30)
        return False

    with monkeypatch.context() as patched:
        patched.setattr(hasher, "_check", check)
        try:
            yield started
        finally:
            go_on.set()


def test_a_tenant_that_takes_all_hashing_is_refused_in_time(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one tenant's checks hold every worker, another one waits for a bounded time."""
    monkeypatch.setattr("multitenant.security.passwords.WAIT_SECONDS", 0.05)
    world = make_world(password_hash_concurrency=1)
    loud, quiet = world.tenant("Loud"), world.tenant("Quiet")
    hasher = world.platform.authenticator._hasher
    with slow_hashing(monkeypatch, hasher) as started:
        thread = threading.Thread(
            target=change_password, args=(loud, "wrong"), kwargs={"address": "203.0.113.1"}
        )
        thread.start()
        assert started.acquire(timeout=30)
        late = change_password(quiet, PASSWORD, address="203.0.113.2")
        refusal(late, 503, "database_unavailable")
        assert int(late.headers["Retry-After"]) > 0
        late = try_login(world, "owner@quiet.example", address="203.0.113.2")
        refusal(late, 503, "database_unavailable")
    thread.join(30)
    changed = change_password(quiet, PASSWORD, address="203.0.113.2")
    assert answer(changed)["email"] == "owner@quiet.example"
