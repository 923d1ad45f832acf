"""POST /api/refresh with a token that was used before: two tabs, a lost answer, or a thief."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pymongo.errors
import pytest
from bson import ObjectId

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.admin import revocations
from multitenant.repositories.model import utc_now
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal, stopped_at, until_available

Run = Callable[[list[Callable[[], Any]]], list[Any]]
_numbers = iter(range(1_000_000))


@pytest.fixture
def owner(shared: World) -> User:
    number = next(_numbers)
    return shared.tenant(f"Tenant {number}", email=f"owner@t{number}.example")


def refresh(world: World, token: str) -> Any:
    return world.client.post("/api/refresh", headers={"jwt": token})


def me(world: World, token: str) -> Any:
    return world.client.get("/api/users/me", headers={"jwt": token})


def used_long_ago(world: World, token: str) -> None:
    """Make the use of a refresh token as old as the grace."""
    token_id = world.platform.tokens.verify(token, "refresh").id
    changed = world.admin_db["revocations"].update_one(
        {"_id": token_id, "reusableUntil": {"$exists": True}},
        {"$set": {"reusableUntil": utc_now()}},
    )
    assert changed.matched_count == 1


def test_within_the_grace_each_use_gets_a_pair_of_the_same_session(
    shared: World, owner: User
) -> None:
    pairs = [answer(refresh(shared, owner.refresh)) for _ in range(3)]
    assert len({pair["refreshToken"] for pair in pairs}) == 3
    for pair in pairs:
        assert me(shared, pair["accessToken"]).status_code == 200
        assert refresh(shared, pair["refreshToken"]).status_code == 200
    assert owner.post("/api/logout").status_code == 200
    for pair in pairs:
        refusal(me(shared, pair["accessToken"]), 401, "token_revoked")


def test_two_tabs_that_refresh_at_once_both_go_on(
    shared: World, owner: User, run_together: Run
) -> None:
    responses = run_together([lambda: refresh(shared, owner.refresh)] * 8)
    assert [response.status_code for response in responses] == [200] * 8


def test_after_the_grace_the_second_use_ends_the_session(shared: World, owner: User) -> None:
    renewed = answer(refresh(shared, owner.refresh))
    again = answer(refresh(shared, owner.refresh))
    used_long_ago(shared, owner.refresh)
    refusal(refresh(shared, owner.refresh), 401, "token_revoked")
    for pair in (renewed, again):
        refusal(refresh(shared, pair["refreshToken"]), 401, "token_revoked")
        refusal(me(shared, pair["accessToken"]), 401, "token_revoked")
    query = {"action": "auth.refresh_reused", "tenantId": ObjectId(owner.tenant_id)}
    assert shared.admin_db["audit"].count_documents(query) == 1


def test_a_second_use_does_not_prolong_the_grace(shared: World, owner: User) -> None:
    claims = shared.platform.tokens.verify(owner.refresh, "refresh")
    query = {"_id": claims.id}
    answer(refresh(shared, owner.refresh))
    first = shared.admin_db["revocations"].find_one(query)
    answer(refresh(shared, owner.refresh))
    assert shared.admin_db["revocations"].find_one(query) == first
    assert first is not None
    assert first["expiresAt"].timestamp() == claims.expires_at


def test_a_use_that_the_release_before_has_recorded_counts(shared: World, owner: User) -> None:
    claims = shared.platform.tokens.verify(owner.refresh, "refresh")
    record = {"_id": claims.id, "used": True, "expiresAt": utc_now() + timedelta(days=1)}
    shared.admin_db["revocations"].insert_one(record)
    refusal(refresh(shared, owner.refresh), 401, "token_revoked")


def test_without_a_grace_each_works_once_however_many_come_at_once(
    make_world: MakeWorld, run_together: Run
) -> None:
    world = make_world(refresh_grace_seconds=0)
    owner = world.tenant("Acme")
    responses = run_together([lambda: refresh(world, owner.refresh)] * 8)
    assert sorted(response.status_code for response in responses) == [200] + [401] * 7
    refusal(refresh(world, owner.refresh), 401, "token_revoked")


class TestUnanswered:
    """A refresh that was answered 503."""

    @pytest.fixture(params=[0, 10])
    def world(self, make_world: MakeWorld, request: pytest.FixtureRequest) -> World:
        return make_world(refresh_grace_seconds=request.param)

    def test_may_be_sent_again_whenever_that_is(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """MongoDB has done what was asked, and the answer was lost."""
        owner = world.tenant("Acme")
        begin_use = revocations.begin_use

        def lose_answer(*args: Any) -> Any:
            begin_use(*args)
            raise pymongo.errors.NetworkTimeout("timed out")

        with monkeypatch.context() as patched:
            patched.setattr(revocations, "begin_use", lose_answer)
            for _ in range(2):
                refusal(refresh(world, owner.refresh), 503, "database_unavailable")
        renewed = answer(refresh(world, owner.refresh))
        assert me(world, renewed["accessToken"]).status_code == 200
        used_long_ago(world, owner.refresh)
        refusal(refresh(world, owner.refresh), 401, "token_revoked")
        refusal(refresh(world, renewed["refreshToken"]), 401, "token_revoked")

    def test_does_not_come_about_after_the_use_was_recorded(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of the last write nobody could say whether it was done."""
        owner = world.tenant("Acme")
        finish_use = revocations.finish_use

        def lose_answer(*args: Any) -> Any:
            finish_use(*args)
            raise pymongo.errors.NetworkTimeout("timed out")

        with monkeypatch.context() as patched:
            patched.setattr(revocations, "finish_use", lose_answer)
            renewed = answer(refresh(world, owner.refresh))
        assert refresh(world, renewed["refreshToken"]).status_code == 200

    def test_is_not_taken_for_theft_when_mongod_was_stopped_meanwhile(
        self, make_world: MakeWorld, mongod: EmbeddedServer
    ) -> None:
        """It does what it was sent when it goes on."""
        world = make_world(refresh_grace_seconds=0, operation_timeout_ms=500)
        owner = world.tenant("Acme")
        assert mongod.pid is not None
        with stopped_at(world, mongod.pid, "insert"):
            response = refresh(world, owner.refresh)
        refusal(response, 503, "database_unavailable")
        renewed = answer(until_available(lambda: refresh(world, owner.refresh)))
        assert me(world, renewed["accessToken"]).status_code == 200


class TestCookies:
    """Of a browser with two tabs."""

    def test_the_cookies_of_a_refresh_that_came_in_time_outlive_one_that_came_too_late(
        self, shared: World, owner: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = shared.app.test_client()
        email = answer(owner.get("/api/users/me"))["email"]
        body = {"email": email, "password": PASSWORD, "useCookies": True}
        assert browser.post("/api/login", json=body).status_code == 200
        csrf = browser.get_cookie("csrf_refresh_token")
        assert csrf is not None
        now = shared.platform.connections.now()
        with monkeypatch.context() as patched:
            patched.setattr(shared.platform.tokens, "_now", lambda: now + 10**9)
            response = browser.post("/api/refresh", headers={"X-CSRF-TOKEN": csrf.value})
        refusal(response, 401, "token_expired")
        assert browser.post("/api/refresh", headers={"X-CSRF-TOKEN": csrf.value}).status_code == 200
