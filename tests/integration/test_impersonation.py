"""Operators who act as a tenant's user: briefly, for a reason, and under their own name."""

import time
from typing import Any

import pytest
from bson import ObjectId

from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal


def impersonate(world: World, target: User, operator: User | None = None) -> Any:
    path = f"/api/tenants/{target.tenant_id}/impersonate"
    body = {"userId": target.user_id, "reason": "Ticket 4711"}
    return (operator or world.operator).post(path, body)


def acting_as(world: World, target: User, operator: User | None = None) -> User:
    token = answer(impersonate(world, target, operator))["accessToken"]
    return User(world.client, target.tenant_id, target.user_id, token, "")


def test_the_operator_sees_what_the_user_sees_and_nothing_else(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    item = answer(acme.post("/api/to-do-list", {"title": "mine"}))
    assistant = acting_as(world, acme)
    assert answer(assistant.get("/api/users/me"))["id"] == acme.user_id
    assert answer(assistant.get("/api/to-do-list"))["items"][0]["id"] == item["id"]
    refusal(assistant.get("/api/tenants"), 403, "role_required")
    foreign = answer(globex.post("/api/to-do-list", {"title": "theirs"}))["id"]
    refusal(assistant.get(f"/api/to-do-list/{foreign}"), 404, "not_found")
    header = {"X-Tenant-Id": globex.tenant_id}
    refusal(assistant.get("/api/users/me", headers=header), 403, "tenant_mismatch")


def test_it_is_audited_with_the_reason_before_the_token_is_given(world: World) -> None:
    owner = world.tenant("Acme")
    impersonate(world, owner)
    entry = answer(world.operator.get("/api/audit?action=tenant.impersonate"))["items"][0]
    assert entry["actor"] == world.operator.user_id
    assert entry["tenantId"] == owner.tenant_id
    assert entry["details"] == {"userId": owner.user_id, "reason": "Ticket 4711"}


def test_what_is_done_is_logged_and_audited_under_the_operators_name(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    owner = world.tenant("Acme")
    assistant = acting_as(world, owner)
    assert assistant.post("/api/logout").status_code == 200
    entry = answer(world.operator.get("/api/audit?action=auth.logout"))["items"][0]
    assert entry["actor"] == world.operator.user_id
    assert entry["actingAs"] == owner.user_id
    refusal(assistant.get("/api/users/me"), 401, "token_revoked")
    assert owner.get("/api/users/me").status_code == 200


def test_it_ends_soon_and_nothing_prolongs_it(make_world: MakeWorld) -> None:
    world = make_world(impersonation_seconds=10)
    owner = world.tenant("Acme")
    response = impersonate(world, owner)
    details = answer(response)
    assert details["expiresIn"] == 10
    assert "refreshToken" not in details
    with world.app.app_context():
        claims = world.platform.tokens.verify(details["accessToken"], "access")
    assert 8 <= claims.expires_at - time.time() <= 10
    bearer = {"Authorization": f"Bearer {details['accessToken']}"}
    refusal(world.client.post("/api/refresh", headers=bearer), 401, "token_invalid")


def test_it_does_not_change_the_users_password(world: World) -> None:
    owner = world.tenant("Acme")
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    refusal(acting_as(world, owner).put("/api/users/me/password", body), 403, "role_required")
    assert world.login("owner@acme.example")


def test_it_ends_with_the_operators_session_and_with_the_users(world: World) -> None:
    owner = world.tenant("Acme")
    operator = world.login("operator@example.com", "operator's own password")
    assistant = acting_as(world, owner, operator)
    assert assistant.get("/api/users/me").status_code == 200
    operator.post("/api/logout")
    refusal(assistant.get("/api/users/me"), 401, "token_revoked")

    assistant = acting_as(world, owner)
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    assert owner.put("/api/users/me/password", body).status_code == 200
    refusal(assistant.get("/api/users/me"), 401, "token_revoked")


def test_a_suspended_tenant_is_closed_to_it_too(world: World) -> None:
    owner = world.tenant("Acme")
    assistant = acting_as(world, owner)
    world.operator.post(f"/api/tenants/{owner.tenant_id}/suspend")
    refusal(assistant.get("/api/users/me"), 403, "tenant_suspended")
    refusal(impersonate(world, owner), 403, "tenant_suspended")


def test_nobody_acts_as_an_operator_or_as_somebody_who_is_not_there(world: World) -> None:
    owner, other = world.tenant("Acme"), world.tenant("Globex")
    refusal(impersonate(world, world.operator), 409, "conflict")
    nobody = User(world.client, owner.tenant_id, str(ObjectId()), "", "")
    refusal(impersonate(world, nobody), 404, "not_found")
    elsewhere = User(world.client, owner.tenant_id, other.user_id, "", "")
    refusal(impersonate(world, elsewhere), 404, "not_found")
    nowhere = User(world.client, str(ObjectId()), owner.user_id, "", "")
    refusal(impersonate(world, nowhere), 404, "not_found")
    refusal(impersonate(world, owner, other), 403, "role_required")
    refusal(impersonate(world, owner, acting_as(world, other)), 403, "role_required")
    for status in ("invited", "disabled"):
        db = world.db_of(owner.tenant_id)
        db["users"].update_one({}, {"$set": {"status": status}})
        refusal(impersonate(world, owner), 409, "conflict")
    world.operator.delete(f"/api/tenants/{owner.tenant_id}")
    refusal(impersonate(world, owner), 409, "conflict")


@pytest.mark.parametrize("reason", [None, "", "  ", "x", "x" * 201, "two\nlines", 7])
def test_a_reason_is_needed(world: World, reason: Any) -> None:
    owner = world.tenant("Acme")
    body = {"userId": owner.user_id, "reason": reason}
    response = world.operator.post(f"/api/tenants/{owner.tenant_id}/impersonate", body)
    assert refusal(response, 422, "validation_failed")["incorrectField"] == "reason"


class TestAuditOfAuthentication:
    """Who came in, who tried to, and who left."""

    def entries(self, world: World, query: str) -> list[dict[str, Any]]:
        found = answer(world.operator.get(f"/api/audit?action=auth.*&{query}"))
        return list(found["items"])

    def test_a_login_says_who_where_and_from_where(self, world: World) -> None:
        owner = world.tenant("Acme")
        entry = self.entries(world, f"tenantId={owner.tenant_id}")[0]
        assert (entry["action"], entry["outcome"]) == ("auth.login", "success")
        assert (entry["actor"], entry["ip"]) == (owner.user_id, "127.0.0.1")
        assert entry["requestId"]
        assert entry["details"] == {}

    def test_a_refused_login_says_which_email_and_why(self, world: World) -> None:
        owner = world.tenant("Acme")
        for email in ("owner@acme.example", "nobody@acme.example"):
            body = {"email": email, "password": "wrong password"}
            assert world.client.post("/api/login", json=body).status_code == 401
        unknown, wrong = self.entries(world, "outcome=failure")
        assert wrong["tenantId"] == owner.tenant_id
        assert unknown["tenantId"] is None
        assert wrong["actor"] is unknown["actor"] is None
        assert wrong["details"] == {"email": "owner@acme.example", "code": "credentials_invalid"}
        assert unknown["details"]["email"] == "nobody@acme.example"

    def test_a_login_to_a_suspended_tenant_is_a_failure(self, world: World) -> None:
        owner = world.tenant("Acme")
        world.operator.post(f"/api/tenants/{owner.tenant_id}/suspend")
        body = {"email": "owner@acme.example", "password": PASSWORD}
        refusal(world.client.post("/api/login", json=body), 403, "tenant_suspended")
        entry = self.entries(world, "outcome=failure")[0]
        assert entry["details"]["code"] == "tenant_suspended"

    def test_leaving_a_new_password_a_stolen_token_and_an_invitation(
        self, make_world: MakeWorld
    ) -> None:
        world = make_world(refresh_grace_seconds=0)
        owner = world.tenant("Acme")
        body = {"currentPassword": PASSWORD, "newPassword": "another one"}
        owner.put("/api/users/me/password", body)
        bearer = {"Authorization": f"Bearer {owner.refresh}"}
        assert world.client.post("/api/refresh", headers=bearer).status_code == 200
        refusal(world.client.post("/api/refresh", headers=bearer), 401, "token_revoked")
        session = world.login("owner@acme.example", "another one")
        session.post("/api/logout")
        seen = [
            (entry["action"], entry["outcome"])
            for entry in self.entries(world, f"actor={owner.user_id}")
        ]
        assert seen == [
            ("auth.logout", "success"),
            ("auth.login", "success"),
            ("auth.refresh_reused", "failure"),
            ("auth.password_change", "success"),
            ("auth.login", "success"),
        ]
        made = answer(world.add(name="Globex", email="g@globex.example"))
        accept = {"token": made["invitationToken"], "password": PASSWORD}
        world.client.post("/api/invitations/accept", json=accept)
        entry = self.entries(world, f"actor={made['userId']}")[0]
        assert (entry["action"], entry["tenantId"]) == ("auth.invitation_accept", made["tenantId"])

    def test_nobody_is_let_in_whom_it_cannot_note(self, world: World, mongo: Any) -> None:
        from tests.failpoints import failing

        owner = world.tenant("Acme")
        namespace = f"{world.admin_db.name}.audit"
        with failing(mongo, "alwaysOn", "insert", errorCode=2, namespace=namespace):
            body = {"email": "owner@acme.example", "password": PASSWORD}
            assert world.client.post("/api/login", json=body).status_code == 500
            change = {"currentPassword": PASSWORD, "newPassword": "another one"}
            assert owner.put("/api/users/me/password", change).status_code == 500
            assert owner.post("/api/logout").status_code == 500
        assert owner.get("/api/users/me").status_code == 200
        assert world.login("owner@acme.example")
