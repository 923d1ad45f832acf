"""Settings that were others when a token was issued or a password was hashed."""

from dataclasses import replace
from typing import Any

import bcrypt
import pytest
from bson import ObjectId

from multitenant.repositories.model import utc_now
from multitenant.tenancy.users.withdrawals import MARGIN
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal

LONG: dict[str, Any] = {
    "access_token_seconds": 80_000,
    "refresh_token_seconds": 90_000,
    "impersonation_seconds": 3600,
}
SHORT: dict[str, Any] = {
    "access_token_seconds": 10,
    "refresh_token_seconds": 60,
    "impersonation_seconds": 10,
}


def withdrawals(world: World) -> list[dict[str, Any]]:
    """The records that withdraw something."""
    return list(world.admin_db["revocations"].find({"used": {"$exists": False}}))


def log_out(world: World, owner: User, colleague: User) -> None:
    assert world.client.post("/api/logout", headers={"jwt": colleague.access}).status_code == 200


def send_as(world: World, user: User, method: str, path: str, body: Any) -> None:
    headers = {"jwt": user.access}
    response = world.client.open(path, method=method, json=body, headers=headers)
    assert response.status_code == 200, response.text


def change_role(world: World, owner: User, colleague: User) -> None:
    send_as(world, owner, "PATCH", f"/api/users/{colleague.user_id}", {"role": "member"})


def disable(world: World, owner: User, colleague: User) -> None:
    send_as(world, owner, "PATCH", f"/api/users/{colleague.user_id}", {"status": "disabled"})


def remove(world: World, owner: User, colleague: User) -> None:
    send_as(world, owner, "DELETE", f"/api/users/{colleague.user_id}", None)


def change_password(world: World, owner: User, colleague: User) -> None:
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    other = world.login(answer(colleague.get("/api/users/me"))["email"])
    send_as(world, other, "PUT", "/api/users/me/password", body)


def reuse(world: World, owner: User, colleague: User) -> None:
    headers = {"jwt": colleague.refresh}
    assert world.client.post("/api/refresh", headers=headers).status_code == 200
    world.admin_db["revocations"].update_one(
        {"reusableUntil": {"$exists": True}}, {"$unset": {"reusableUntil": ""}}
    )
    assert world.client.post("/api/refresh", headers=headers).status_code == 401


ENDINGS = [log_out, change_role, disable, remove, change_password, reuse]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
def test_a_withdrawal_outlives_every_token_that_was_issued_before_lives_were_lowered(
    make_world: MakeWorld, end: Any
) -> None:
    before = make_world(**LONG)
    owner = before.tenant("Acme")
    colleague = before.colleague(owner, "admin")
    tokens = before.platform.tokens
    expires_at = tokens.verify(colleague.refresh, "refresh").expires_at

    now = make_world(**SHORT)
    end(now, owner, colleague)

    (withdrawal,) = withdrawals(now)
    assert withdrawal["expiresAt"].timestamp() > expires_at
    for world in (now, before):
        headers = {"jwt": colleague.access}
        world.platform.revocations.forget()
        refusal(world.client.get("/api/users/me", headers=headers), 401, "token_revoked")


def test_lives_are_on_record_for_as_long_as_their_tokens_are_in_force(
    make_world: MakeWorld,
) -> None:
    for settings in (LONG, SHORT):
        make_world(**settings).tenant(f"Tenant{settings['refresh_token_seconds']}")
    lives = make_world(**SHORT).admin_db["tokenlives"].find()
    left = {life["_id"]: (life["expiresAt"] - utc_now()).total_seconds() for life in lives}
    margin = MARGIN.total_seconds()
    assert set(left) == {90_000, 60}
    assert 90_000 + margin < left[90_000] < 90_000 + 3 * margin
    assert 60 + margin < left[60] < 60 + 3 * margin


def test_the_session_of_an_operator_who_acts_as_a_user_is_ended_for_as_long_as_that_lasts(
    make_world: MakeWorld,
) -> None:
    world = make_world(**SHORT | {"impersonation_seconds": 3600})
    owner = world.tenant("Acme")
    path = f"/api/tenants/{owner.tenant_id}/impersonate"
    body = {"userId": owner.user_id, "reason": "a call"}
    token = answer(world.operator.post(path, body))["accessToken"]
    expires_at = world.platform.tokens.verify(token, "access").expires_at
    assert world.operator.post("/api/logout").status_code == 200
    (withdrawal,) = withdrawals(world)
    assert withdrawal["expiresAt"].timestamp() > expires_at
    refusal(world.client.get("/api/users/me", headers={"jwt": token}), 401, "token_revoked")


def test_whoever_has_a_hash_of_a_higher_cost_logs_in_and_changes_their_password(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of cost 16 takes seconds, so it is only said to be of that."""
    world = make_world()
    owner = world.tenant("Acme")
    users = world.db_of(owner.tenant_id)["users"]
    cheap = users.find_one({"_id": ObjectId(owner.user_id)})
    assert cheap is not None
    dear = cheap["password"].replace("$04$", "$16$").encode()
    users.update_one({"_id": cheap["_id"]}, {"$set": {"password": dear.decode()}})
    check = bcrypt.checkpw
    monkeypatch.setattr(
        bcrypt,
        "checkpw",
        lambda password, hashed: check(
            password, cheap["password"].encode() if hashed == dear else hashed
        ),
    )
    user = world.login("owner@acme.example")
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    assert user.put("/api/users/me/password", body).status_code == 200


def test_a_retry_answers_the_invitation_that_the_first_request_has_made(
    make_world: MakeWorld,
) -> None:
    before, now = make_world(invitation_seconds=86_400), make_world(invitation_seconds=60)
    body = {"name": "Acme", "email": "owner@acme.example"}
    headers = {"Idempotency-Key": "once"}
    first = answer(before.operator.post("/api/add", body, headers=headers))
    operator = replace(before.operator, client=now.client)
    assert answer(operator.post("/api/add", body, headers=headers)) == first


@pytest.mark.parametrize(("before", "after", "status"), [(0, 300, 401), (300, 0, 200)])
def test_another_grace_is_for_tokens_that_are_used_later(
    make_world: MakeWorld, before: int, after: int, status: int
) -> None:
    world = make_world(refresh_grace_seconds=before)
    owner = world.tenant("Acme")
    headers = {"jwt": owner.refresh}
    assert world.client.post("/api/refresh", headers=headers).status_code == 200
    later = make_world(refresh_grace_seconds=after)
    assert later.client.post("/api/refresh", headers=headers).status_code == status
