"""Accepting an invitation again, after an answer that could not be given."""

from collections.abc import Callable
from itertools import count
from typing import Any

import pymongo.errors
import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.tenant import users
from multitenant.repositories.transactions import run_transaction
from multitenant.tenancy.lifecycle import both_databases
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal, stopped_at, until_available

Client = MongoClient[dict[str, Any]]
Run = Callable[[list[Callable[[], Any]]], list[Any]]
_numbers = count()


@pytest.fixture(scope="module")
def owner(shared: World) -> User:
    return shared.tenant("Acme")


def invite(owner: User) -> dict[str, Any]:
    """Invite somebody, and return them with their token."""
    invited: dict[str, Any] = answer(
        owner.post("/api/users", {"email": f"guest{next(_numbers)}@example.com"})
    )
    return invited


def accept(world: World, invited: dict[str, Any], password: str = PASSWORD) -> Any:
    body = {"token": invited["invitationToken"], "password": password}
    return world.client.post("/api/invitations/accept", json=body)


def lose_answer(monkeypatch: pytest.MonkeyPatch, number: int = 1) -> None:
    """Let one transaction be done without anybody hearing of it: the first, or the second."""
    numbers = count(1)

    def run(client: Any, work: Callable[[], Any], *, seconds: float | None) -> Any:
        result = run_transaction(client, work, seconds=seconds)
        if next(numbers) == number:
            raise pymongo.errors.NetworkTimeout("timed out")
        return result

    monkeypatch.setattr(both_databases, "run_transaction", run)


def test_it_is_done_when_it_is_sent_again(
    shared: World, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    ben = invite(owner)
    with monkeypatch.context() as patched:
        lose_answer(patched)
        refusal(accept(shared, ben), 503, "database_unavailable")
    assert answer(accept(shared, ben)) == {"userId": ben["id"]}
    assert shared.login(ben["email"]).user_id == ben["id"]
    query = {"action": "auth.invitation_accept", "actor": ObjectId(ben["id"])}
    assert shared.admin_db["audit"].count_documents(query) == 1

    refusal(accept(shared, ben), 401, "token_revoked")  # that one was answered


@pytest.mark.parametrize("lost", [1, 2])
def test_it_is_done_on_another_cluster(
    world: World, blue: Client, monkeypatch: pytest.MonkeyPatch, lost: int
) -> None:
    """After either of its transactions."""
    ben = invite(world.tenant("Acme", cluster="blue"))
    with monkeypatch.context() as patched:
        lose_answer(patched, lost)
        refusal(accept(world, ben), 503, "database_unavailable")
    assert answer(accept(world, ben)) == {"userId": ben["id"]}
    refusal(accept(world, ben), 401, "token_revoked")


def test_an_answer_that_may_be_lost_is_given(
    shared: World, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is done; only that it is answered could not be recorded."""
    ben = invite(owner)

    def fail(*_: Any, **__: Any) -> None:
        raise pymongo.errors.NetworkTimeout("timed out")

    with monkeypatch.context() as patched:
        patched.setattr(users, "forget_invitation", fail)
        assert accept(shared, ben).status_code == 200
    assert accept(shared, ben).status_code == 200
    refusal(accept(shared, ben), 401, "token_revoked")


def change_password(world: World, owner: User, ben: dict[str, Any]) -> Any:
    body = {"currentPassword": PASSWORD, "newPassword": "another password"}
    changed = world.login(ben["email"]).put("/api/users/me/password", body)
    back = {"currentPassword": "another password", "newPassword": PASSWORD}
    assert changed.status_code == 200
    return world.login(ben["email"], "another password").put("/api/users/me/password", back)


def change_role(world: World, owner: User, ben: dict[str, Any]) -> Any:
    return owner.patch(f"/api/users/{ben['id']}", {"role": "admin"})


def disable(world: World, owner: User, ben: dict[str, Any]) -> Any:
    return owner.patch(f"/api/users/{ben['id']}", {"status": "disabled"})


def remove(world: World, owner: User, ben: dict[str, Any]) -> Any:
    return owner.delete(f"/api/users/{ben['id']}")


@pytest.mark.parametrize("end", [change_password, change_role, disable, remove])
def test_not_after_the_user_was_changed(
    shared: World, owner: User, monkeypatch: pytest.MonkeyPatch, end: Callable[..., Any]
) -> None:
    ben = invite(owner)
    with monkeypatch.context() as patched:
        lose_answer(patched)
        refusal(accept(shared, ben), 503, "database_unavailable")
    assert end(shared, owner, ben).status_code == 200
    refusal(accept(shared, ben), 401, "token_revoked")


def test_not_with_another_password_which_counts_as_a_guess(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(login_rate_limit="10 per minute")
    ben = invite(world.tenant("Acme"))
    with monkeypatch.context() as patched:
        lose_answer(patched)
        refusal(accept(world, ben), 503, "database_unavailable")
    guesses = [accept(world, ben, f"another password {number}") for number in range(10)]
    assert {response.status_code for response in guesses[:2]} == {401}
    assert guesses[-1].status_code == 429


def test_two_that_come_at_once_and_agree_are_both_answered(
    shared: World, owner: User, monkeypatch: pytest.MonkeyPatch, run_together: Run
) -> None:
    ben = invite(owner)
    with monkeypatch.context() as patched:
        patched.setattr(users, "forget_invitation", lambda *_, **__: None)
        both = run_together([lambda: accept(shared, ben)] * 2)
    assert [response.status_code for response in both] == [200, 200]


@pytest.mark.slow
def test_it_is_done_when_mongod_stood_still_meanwhile(
    make_world: MakeWorld, mongod: EmbeddedServer
) -> None:
    """It does what it was sent when it goes on."""
    world = make_world(operation_timeout_ms=500)
    ben = invite(world.tenant("Acme"))
    assert mongod.pid is not None
    with stopped_at(world, mongod.pid, "commitTransaction"):
        response = accept(world, ben)
    refusal(response, 503, "database_unavailable")
    assert until_available(lambda: accept(world, ben)).status_code == 200
    world.login(ben["email"])
