"""What one tenant can make the platform store in the admin database is bounded."""

from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId
from limits import parse_many

from multitenant.repositories.model import utc_now
from multitenant.tenancy.users import change_limits
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal


def entries(world: World, tenant: User, action: str) -> int:
    query = {"tenantId": ObjectId(tenant.tenant_id), "action": action}
    return world.admin_db["audit"].count_documents(query)


def invite(owner: User, email: str) -> str:
    """Invite somebody and return the path of the user."""
    return f"/api/users/{answer(owner.post('/api/users', {'email': email}))['id']}"


@pytest.fixture
def few_changes_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_limits, "CHANGES_OF_A_USER", parse_many("3 per hour"))


@pytest.mark.usefixtures("few_changes_of_a_user")
def test_inviting_again_and_again_ends(world: World) -> None:
    owner = world.tenant("Acme")
    ben, eva = invite(owner, "ben@acme.example"), invite(owner, "eva@acme.example")
    for _ in range(3):
        assert owner.post(f"{ben}/invitation").status_code == 201
    for _ in range(3):
        refused = owner.post(f"{ben}/invitation")
        refusal(refused, 429, "rate_limited")
        assert int(refused.headers["Retry-After"]) > 0
    assert entries(world, owner, "user.invite") == 3
    assert owner.post(f"{eva}/invitation").status_code == 201, "others are not concerned"


@pytest.mark.usefixtures("few_changes_of_a_user")
def test_changing_a_user_to_and_fro_ends(world: World) -> None:
    owner = world.tenant("Acme")
    ben = world.colleague(owner, "member")
    path = f"/api/users/{ben.user_id}"
    for number in range(3):
        status = ("disabled", "active")[number % 2]
        assert owner.patch(path, {"status": status}).status_code == 200
    assert owner.patch(path, {"status": "disabled"}).status_code == 200, "nothing changes"
    refusal(owner.patch(path, {"status": "active"}), 429, "rate_limited")
    refusal(owner.delete(path), 429, "rate_limited")
    assert entries(world, owner, "user.change") == 3


def test_all_changes_of_a_tenant_are_counted_together_and_apart_from_other_tenants(
    make_world: MakeWorld,
) -> None:
    world = make_world(tenant_change_limit="5 per hour")
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    for number in range(3):
        removed = acme.delete(invite(acme, f"u{number}@acme.example"))
        assert removed.status_code == (429 if number == 2 else 200)
    refusal(acme.post("/api/users", {"email": "x@acme.example"}), 429, "rate_limited")
    assert entries(world, acme, "user.add") + entries(world, acme, "user.remove") == 5
    assert globex.post("/api/users", {"email": "x@globex.example"}).status_code == 201
    assert acme.get("/api/users").status_code == 200


def test_refreshing_for_ever_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_limits, "REFRESHES_OF_A_USER", parse_many("2 per hour"))
    token = world.tenant("Acme").refresh
    for _ in range(2):
        refreshed = world.client.post("/api/refresh", headers={"jwt": token})
        token = answer(refreshed)["refreshToken"]
    refusal(world.client.post("/api/refresh", headers={"jwt": token}), 429, "rate_limited")
    assert world.admin_db["revocations"].count_documents({"used": True}) == 2
    monkeypatch.undo()
    later = world.client.post("/api/refresh", headers={"jwt": token})
    assert later.status_code == 200, "the token was not used up"


def test_whatever_tenants_make_the_platform_store_has_an_end(world: World) -> None:
    """All of it but memberships, which users have, and what operators have done."""
    owner = world.tenant("Acme")
    ben = invite(owner, "ben@acme.example")
    owner.post(f"{ben}/invitation")
    owner.patch(ben, {"role": "admin"})
    owner.delete(ben)
    body = {"currentPassword": PASSWORD, "newPassword": "another password"}
    owner.put("/api/users/me/password", body)
    world.client.post("/api/login", json={"email": "owner@acme.example", "password": "wrong one"})
    world.client.post("/api/refresh", headers={"jwt": owner.refresh})
    owner.post("/api/logout")
    db = world.admin_db
    limit = utc_now() + timedelta(days=401)
    theirs: dict[str, Any] = {"action": {"$regex": "^(user|auth)[.]"}}
    for collection, query, end in (
        ("audit", theirs, "expiresAt"),
        ("revocations", {}, "expiresAt"),
        ("ratelimits", {}, "expireAt"),
        ("ratelimitcounters", {}, "expireAt"),
    ):
        kept = list(db[collection].find(query))
        assert kept, f"there is something in {collection}"
        assert all(document[end] < limit for document in kept)
        ttl = [index for index in db[collection].list_indexes() if "expireAfterSeconds" in index]
        assert [dict(index["key"]) for index in ttl] == [{end: 1}]
    assert not db["audit"].count_documents({"action": "tenant.add", "expiresAt": {"$exists": True}})
