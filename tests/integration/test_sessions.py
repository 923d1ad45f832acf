"""POST /api/refresh, GET /api/users/me, PUT /api/users/me/password."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from flask.testing import FlaskClient

from multitenant.repositories.admin.revocations import find_revocations
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import users
from multitenant.tenancy.deployments import write_permission
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, in_thread, refusal

NEW_PASSWORD = "a new password"


@pytest.fixture
def watchful_world(make_world: MakeWorld) -> World:
    """A world in which every request reads revocations, as after a moment in any other, and a
    refresh token works once."""
    return make_world(tenant_stale_seconds=0, refresh_grace_seconds=0)


def refresh(world: World, token: str) -> Any:
    return world.client.post("/api/refresh", headers={"Authorization": f"Bearer {token}"})


def me(world: World, token: str) -> Any:
    return world.client.get("/api/users/me", headers={"jwt": token})


def test_refreshing_gives_a_new_pair_that_works(world: World) -> None:
    owner = world.tenant("Acme")
    response = refresh(world, owner.refresh)

    session = answer(response)
    assert set(session) == {"accessToken", "refreshToken", "userId", "tenantId", "role"}
    assert session["accessToken"] != owner.access
    assert me(world, session["accessToken"]).status_code == 200
    assert refresh(world, session["refreshToken"]).status_code == 200


def test_an_access_token_does_not_refresh(world: World) -> None:
    refusal(refresh(world, world.tenant("Acme").access), 401, "token_invalid")


def test_using_a_refresh_token_twice_ends_the_whole_family(watchful_world: World) -> None:
    world = watchful_world
    owner, other_session = world.tenant("Acme"), world.login("owner@acme.example")
    stolen = owner.refresh
    renewed = answer(refresh(world, stolen))

    refusal(refresh(world, stolen), 401, "token_revoked")

    refusal(refresh(world, renewed["refreshToken"]), 401, "token_revoked")
    refusal(me(world, renewed["accessToken"]), 401, "token_revoked")
    refusal(me(world, owner.access), 401, "token_revoked")
    assert me(world, other_session.access).status_code == 200


def test_of_eight_simultaneous_uses_of_a_refresh_token_at_most_one_succeeds(
    watchful_world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    world = watchful_world
    owner = world.tenant("Acme")
    responses = run_together([lambda: refresh(world, owner.refresh)] * 8)
    assert sorted(response.status_code for response in responses)[1:] == [401] * 7


def test_a_user_who_was_disabled_or_removed_does_not_refresh(world: World) -> None:
    first, second = world.tenant("Acme"), world.tenant("Globex")
    users = world.db_of(first.tenant_id)["users"]
    users.update_one({"_id": ObjectId(first.user_id)}, {"$set": {"status": "disabled"}})
    world.db_of(second.tenant_id)["users"].delete_one({"_id": ObjectId(second.user_id)})
    for user in (first, second):
        refusal(refresh(world, user.refresh), 401, "token_revoked")


def test_refreshing_by_cookie_needs_the_csrf_header_and_sets_new_cookies(world: World) -> None:
    world.tenant("Acme")
    browser = world.app.test_client()
    body = {"email": "owner@acme.example", "password": PASSWORD, "useCookies": True}
    browser.post("/api/login", json=body)

    refusal(browser.post("/api/refresh"), 403, "csrf_failed")
    csrf = browser.get_cookie("csrf_refresh_token")
    assert csrf is not None
    response = browser.post("/api/refresh", headers={"X-CSRF-TOKEN": csrf.value})
    values = {"csrfToken", "refreshCsrfToken"}
    assert set(answer(response)) == {"userId", "tenantId", "role"} | values
    assert browser.get("/api/users/me").status_code == 200


def test_me_is_the_user_of_the_token_without_the_hash(world: World) -> None:
    owner = world.tenant("Acme")
    user = answer(owner.get("/api/users/me"))
    assert set(user) == {"id", "email", "role", "status", "createdAt", "updatedAt"}
    assert (user["id"], user["email"], user["role"]) == (
        owner.user_id,
        "owner@acme.example",
        "owner",
    )


def change_password(user: User, current: str = PASSWORD, new: str = NEW_PASSWORD) -> Any:
    body = {"currentPassword": current, "newPassword": new}
    return user.put("/api/users/me/password", body)


def test_a_changed_password_is_the_only_one_that_logs_in(world: World) -> None:
    owner = world.tenant("Acme")

    response = change_password(owner)

    assert answer(response)["id"] == owner.user_id
    assert world.login("owner@acme.example", NEW_PASSWORD)
    old = {"email": "owner@acme.example", "password": PASSWORD}
    refusal(world.client.post("/api/login", json=old), 401, "credentials_invalid")


def test_changing_the_password_needs_the_current_one(world: World) -> None:
    owner = world.tenant("Acme")
    details = refusal(change_password(owner, current="wrong"), 401, "credentials_invalid")
    assert details["incorrectField"] == "currentPassword"
    assert world.login("owner@acme.example")


def test_changing_the_password_ends_every_other_session_and_keeps_this_one(
    watchful_world: World,
) -> None:
    world = watchful_world
    owner, other = world.tenant("Acme"), world.login("owner@acme.example")

    assert change_password(owner).status_code == 200

    refusal(me(world, other.access), 401, "token_revoked")
    refusal(refresh(world, other.refresh), 401, "token_revoked")
    assert me(world, owner.access).status_code == 200
    renewed = answer(refresh(world, owner.refresh))
    assert me(world, renewed["accessToken"]).status_code == 200


def test_a_second_change_ends_the_session_that_the_first_one_spared(watchful_world: World) -> None:
    world = watchful_world
    owner = world.tenant("Acme")
    change_password(owner)
    later = world.login("owner@acme.example", NEW_PASSWORD)

    assert change_password(later, current=NEW_PASSWORD, new="yet another").status_code == 200

    refusal(me(world, owner.access), 401, "token_revoked")
    assert me(world, later.access).status_code == 200


def test_of_two_simultaneous_changes_one_takes_effect(
    world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    owner = world.tenant("Acme")
    responses = run_together(
        [
            lambda: change_password(owner, new="password A"),
            lambda: change_password(owner, new="password B"),
        ]
    )
    statuses = [response.status_code for response in responses]
    winner = "password A" if statuses[0] == 200 else "password B"
    assert statuses.count(200) == 1
    assert set(statuses) <= {200, 401, 409}
    assert world.login("owner@acme.example", winner)


def test_a_check_that_began_before_a_revocation_does_not_vouch_for_the_token_after_it(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However slow the machine is, the request does not look again before it answers.
    monkeypatch.setattr(write_permission, "RECHECK_SECONDS", timedelta(days=1).total_seconds())
    world = make_world(tenant_stale_seconds=60)
    owner = world.tenant("Acme")
    find = find_revocations
    revoked: list[bool] = []

    def revoke_after_reading(*args: Any) -> Any:
        found = find(*args)
        if not revoked:
            revoked.append(True)
            in_thread(lambda: change_password(world.login("owner@acme.example")))
        return found

    monkeypatch.setattr(
        "multitenant.tenancy.routing.revocations.find_revocations", revoke_after_reading
    )
    assert me(world, owner.access).status_code == 200, "it asked before"
    refusal(me(world, owner.access), 401, "token_revoked")


def test_a_session_that_ends_costs_no_other_one_a_read(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tenant_stale_seconds=60)
    owner, other = world.tenant("Acme"), world.login("owner@acme.example")
    for session in (owner, other):
        assert me(world, session.access).status_code == 200
    assert world.client.post("/api/logout", headers={"jwt": other.access}).status_code == 200
    read: list[list[str]] = []

    def find(db: MongoDatabase, keys: list[str]) -> list[MongoDocument]:
        read.append(keys)
        return find_revocations(db, keys)

    monkeypatch.setattr("multitenant.tenancy.routing.revocations.find_revocations", find)
    assert me(world, owner.access).status_code == 200
    assert not read, "that session has not changed"
    refusal(me(world, other.access), 401, "token_revoked")
    assert [len(keys) for keys in read] == [1], "its family's record is all that has changed"


def test_a_refresh_that_races_with_a_password_change_does_not_outlive_it(
    watchful_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refresh passed the resolver, then the password was changed, then it read the user."""
    world = watchful_world
    stolen, owner = world.tenant("Acme"), world.login("owner@acme.example")
    find_user = users.find_sound_user
    changed: list[int] = []

    def change_first(*args: Any) -> Any:
        if not changed:
            changed.append(0)
            changed[0] = in_thread(lambda: change_password(owner)).status_code
        return find_user(*args)

    monkeypatch.setattr(users, "find_sound_user", change_first)
    response = refresh(world, stolen.refresh)

    assert changed == [200]
    refusal(response, 401, "token_revoked")


def test_logging_out_ends_this_session_and_no_other(world: World) -> None:
    owner, other = world.tenant("Acme"), world.login("owner@acme.example")
    renewed = answer(refresh(world, owner.refresh))

    assert owner.post("/api/logout").status_code == 200

    refusal(me(world, owner.access), 401, "token_revoked")
    refusal(me(world, renewed["accessToken"]), 401, "token_revoked")
    refusal(refresh(world, renewed["refreshToken"]), 401, "token_revoked")
    assert me(world, other.access).status_code == 200


def test_logging_out_removes_the_cookies(world: World) -> None:
    world.tenant("Acme")
    browser = world.app.test_client()
    body = {"email": "owner@acme.example", "password": PASSWORD, "useCookies": True}
    browser.post("/api/login", json=body)
    csrf = browser.get_cookie("csrf_access_token")
    assert csrf is not None
    refusal(browser.post("/api/logout"), 403, "csrf_failed")
    assert browser.post("/api/logout", headers={"X-CSRF-TOKEN": csrf.value}).status_code == 200
    refusal(browser.get("/api/users/me"), 401, "token_missing")


def cookies_of(world: World) -> FlaskClient:
    """A browser whose user is logged in by cookies."""
    browser = world.app.test_client()
    body = {"email": "owner@acme.example", "password": PASSWORD, "useCookies": True}
    assert browser.post("/api/login", json=body).status_code == 200
    return browser


@pytest.mark.parametrize(("path", "kind"), [("logout", "access"), ("refresh", "refresh")])
def test_the_cookies_of_a_session_that_has_ended_are_removed(
    watchful_world: World, path: str, kind: str
) -> None:
    world = watchful_world
    owner, browser = world.tenant("Acme"), cookies_of(world)
    csrf = browser.get_cookie(f"csrf_{kind}_token")
    assert csrf is not None
    assert change_password(owner).status_code == 200
    response = browser.post(f"/api/{path}", headers={"X-CSRF-TOKEN": csrf.value})
    refusal(response, 401, "token_revoked")
    for name in ("access", "refresh"):
        assert browser.get_cookie(f"{name}_token_cookie") is None
        assert browser.get_cookie(f"{name}_token_cookie", path="/api/refresh") is None


def test_nobody_else_can_have_cookies_removed(world: World) -> None:
    """A page of another origin, whose requests come without them, or a forged header."""
    owner, browser = world.tenant("Acme"), cookies_of(world)
    for headers in ({}, {"jwt": "x"}, {"Authorization": "Bearer x"}):
        for path in ("/api/logout", "/api/refresh"):
            for sender in (world.client, browser) if headers else (world.client,):
                response = sender.post(path, headers=headers)
                assert response.status_code == 401
                assert not response.headers.getlist("Set-Cookie")
    refusal(browser.post("/api/logout"), 403, "csrf_failed")
    assert browser.get("/api/users/me").status_code == 200
    assert owner.get("/api/users/me").status_code == 200
