"""Suspending, activating, deleting, restoring and purging tenants; and the audit log of it."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.admin import tenant_users
from tests.failpoints import failing
from tests.integration.test_provisioning import _collect_garbage
from tests.support import PASSWORD, User, World, answer, refusal

Client = MongoClient[dict[str, Any]]


def act(world: World, owner: User, action: str) -> Any:
    path = f"/api/tenants/{owner.tenant_id}"
    if action == "delete":
        return world.operator.delete(path)
    return world.operator.post(f"{path}/{action}")


def status_of(world: World, owner: User) -> str:
    return str(answer(world.operator.get(f"/api/tenants/{owner.tenant_id}"))["status"])


def audited(world: World, owner: User) -> list[str]:
    page = answer(world.operator.get(f"/api/audit?tenantId={owner.tenant_id}"))
    actions = [entry["action"] for entry in reversed(page["items"])]
    return [action for action in actions if not action.startswith("auth.")]


def login(world: World, name: str = "acme") -> Any:
    body = {"email": f"owner@{name}.example", "password": PASSWORD}
    return world.client.post("/api/login", json=body)


def test_a_suspended_tenant_is_refused_and_an_activated_one_goes_on(world: World) -> None:
    owner = world.tenant("Acme")

    suspended = answer(act(world, owner, "suspend"))
    assert suspended["status"] == "suspended"
    assert suspended["suspendedAt"]
    refusal(owner.get("/api/users/me"), 403, "tenant_suspended")
    refusal(login(world), 403, "tenant_suspended")

    activated = answer(act(world, owner, "activate"))
    assert (activated["status"], activated["suspendedAt"]) == ("active", None)
    assert owner.get("/api/users/me").status_code == 200


def test_a_deleted_tenant_is_gone_for_its_users_and_comes_back_as_it_was(world: World) -> None:
    owner = world.tenant("Acme")
    owner.post("/api/to-do-list", {"title": "kept"})

    deleted = answer(act(world, owner, "delete"))
    assert deleted["status"] == "deleted"
    assert deleted["deletedAt"]
    refusal(owner.get("/api/users/me"), 401, "token_revoked")
    refusal(login(world), 401, "credentials_invalid")

    restored = answer(act(world, owner, "restore"))
    assert (restored["status"], restored["deletedAt"]) == ("active", None)
    assert answer(owner.get("/api/to-do-list"))["items"][0]["title"] == "kept"


def test_a_tenant_that_was_suspended_is_restored_as_suspended(world: World) -> None:
    owner = world.tenant("Acme")
    for action in ("suspend", "delete", "restore"):
        assert act(world, owner, action).status_code == 200
    assert status_of(world, owner) == "suspended"


def test_doing_it_again_changes_nothing_and_is_not_audited_again(world: World) -> None:
    owner = world.tenant("Acme")
    for action in ("suspend", "activate", "delete", "restore"):
        first, second = act(world, owner, action), act(world, owner, action)
        assert (first.status_code, second.status_code) == (200, 200)
        assert answer(second) == answer(first)
    assert audited(world, owner) == [
        "tenant.add",
        *("tenant.suspend", "tenant.activate", "tenant.delete", "tenant.restore"),
    ]


@pytest.mark.parametrize("action", ["suspend", "activate"])
def test_a_deleted_tenant_must_be_restored_first(world: World, action: str) -> None:
    owner = world.tenant("Acme")
    act(world, owner, "delete")
    refusal(act(world, owner, action), 409, "conflict")
    assert status_of(world, owner) == "deleted"


@pytest.mark.parametrize("action", ["suspend", "activate", "delete", "restore"])
def test_the_operators_and_unknown_tenants_are_not_acted_on(world: World, action: str) -> None:
    refusal(act(world, world.operator, action), 409, "conflict")
    nobody = User(world.client, str(ObjectId()), "", "", "")
    refusal(act(world, nobody, action), 404, "not_found")
    assert world.operator.get("/api/users/me").status_code == 200


def test_of_eight_simultaneous_suspensions_one_is_audited_and_none_fails_wrongly(
    world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    owner = world.tenant("Acme")
    world.operator  # noqa: B018
    responses = run_together([lambda: act(world, owner, "suspend")] * 8)
    assert {response.status_code for response in responses} <= {200, 409}
    assert status_of(world, owner) == "suspended"
    assert audited(world, owner).count("tenant.suspend") == 1


class TestPurge:
    """Removing a deleted tenant for good."""

    def purge(self, world: World, owner: User, confirm: str = "Acme") -> Any:
        return world.operator.post(f"/api/tenants/{owner.tenant_id}/purge", {"confirm": confirm})

    def test_everything_of_the_tenant_is_gone_and_nothing_of_another(self, world: World) -> None:
        owner, other = world.tenant("Acme"), world.tenant("Globex")
        database = world.record(owner.tenant_id)["dbName"]
        body = {"currentPassword": PASSWORD, "newPassword": "another one"}
        owner.put("/api/users/me/password", body)
        act(world, owner, "delete")

        gone = answer(self.purge(world, owner))["gone"]

        parts = ("tenant", "memberships", "revocations", "database", "cacheEntry", "databaseUsers")
        assert gone == dict.fromkeys(parts, True)
        assert database not in world.databases()
        tenant_id = ObjectId(owner.tenant_id)
        assert world.admin_db["tenantusers"].count_documents({"tenantId": tenant_id}) == 0
        assert world.admin_db["revocations"].count_documents({}) == 0
        refusal(world.operator.get(f"/api/tenants/{owner.tenant_id}"), 404, "not_found")
        refusal(self.purge(world, owner), 404, "not_found")
        refusal(owner.get("/api/users/me"), 401, "token_revoked")
        assert audited(world, owner)[-1] == "tenant.purge"
        assert other.get("/api/users/me").status_code == 200
        assert world.add(name="Acme", email="owner@acme.example").status_code == 201

    def test_it_needs_the_name_and_a_deleted_tenant(self, world: World) -> None:
        owner = world.tenant("Acme")
        refusal(self.purge(world, owner), 409, "conflict")
        act(world, owner, "delete")
        details = refusal(self.purge(world, owner, "acme"), 422, "validation_failed")
        assert details["incorrectField"] == "confirm"
        act(world, owner, "restore")
        assert owner.get("/api/users/me").status_code == 200

    def test_the_operators_are_not_purged(self, world: World) -> None:
        refusal(self.purge(world, world.operator, "operators"), 409, "conflict")

    def test_however_many_users_there_are_they_are_removed_some_at_a_time(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tenant_users, "AT_A_TIME", 2)
        owner = world.tenant("Acme")
        memberships = [
            {"email": f"{number}@acme.example", "tenantId": ObjectId(owner.tenant_id)}
            for number in range(4)
        ]
        world.admin_db["tenantusers"].insert_many(memberships)
        act(world, owner, "delete")
        world.recorder.commands.clear()
        assert answer(self.purge(world, owner))["gone"]["memberships"] is True
        deletes = [
            command
            for _, name, command in world.recorder.commands
            if name == "delete" and command["delete"] == "tenantusers"
        ]
        assert len(deletes) >= 3
        assert not any("autocommit" in command for command in deletes), "in no transaction"

    @pytest.mark.slow
    def test_failing_at_any_write_leaves_the_tenant_or_lets_gc_finish(
        self, world: World, mongo: Client
    ) -> None:
        commands = ("find", "insert", "update", "delete", "commitTransaction", "dropDatabase")
        owner = world.tenant("First")
        act(world, owner, "delete")
        world.recorder.commands.clear()
        assert self.purge(world, owner, "First").status_code == 200
        sent = [name for _, name, _ in world.recorder.commands if name in commands]
        assert len(sent) > 8, "records, a note, the audit log, the commit, and the database"

        owner = world.tenant("Acme")
        dropped = False
        for step, command in enumerate(sent):
            if command == "find":
                continue
            act(world, owner, "delete")
            with failing(mongo, {"skip": sent[:step].count(command)}, command, errorCode=2):
                response = self.purge(world, owner)
            what = f"step {step}, {command}"
            assert response.status_code == 500, what
            record = world.admin_db["tenants"].find_one({"name": "Acme"})
            if record is None:  # past the point of no return
                dropped = dropped or command == "dropDatabase"
                left = _collect_garbage(world)
                assert left == (1 if step <= sent.index("dropDatabase") else 0), what
                owner = world.tenant("Acme")
            else:
                assert act(world, owner, "restore").status_code == 200, what
                assert login(world).status_code == 200, what
        assert dropped


class TestAudit:
    """GET /api/audit."""

    def test_an_entry_says_who_what_whom_when_and_from_where(self, world: World) -> None:
        owner = world.tenant("Acme")
        world.operator.post(
            f"/api/tenants/{owner.tenant_id}/suspend", headers={"X-Request-ID": "find-me"}
        )
        entry = answer(world.operator.get("/api/audit?limit=1"))["items"][0]
        assert entry["action"] == "tenant.suspend"
        assert entry["actor"] == world.operator.user_id
        assert entry["tenantId"] == owner.tenant_id
        assert (entry["requestId"], entry["ip"]) == ("find-me", "127.0.0.1")
        assert entry["at"].endswith("Z")

    def test_the_newest_comes_first_page_by_page(self, world: World) -> None:
        owner = world.tenant("Acme")
        for action in ("suspend", "activate", "delete"):
            act(world, owner, action)
        path = "/api/audit?limit=3&action=tenant.*"
        first = answer(world.operator.get(path))
        rest = answer(world.operator.get(f"{path}&cursor={first['nextCursor']}"))
        actions = [entry["action"] for entry in first["items"] + rest["items"]]
        assert actions == ["tenant.delete", "tenant.activate", "tenant.suspend", "tenant.add"]

    def test_it_is_filtered_by_tenant_actor_action_and_time(self, world: World) -> None:
        acme, globex = world.tenant("Acme"), world.tenant("Globex")
        act(world, acme, "suspend")

        def count(query: str) -> int:
            return len(answer(world.operator.get(f"/api/audit?{query}"))["items"])

        tenants = "action=tenant.*"
        assert count(f"{tenants}&tenantId={acme.tenant_id}") == 2
        assert count(f"{tenants}&tenantId={globex.tenant_id}") == 1
        assert count("action=tenant.add") == 2
        assert count("action=tenant.nothing") == 0
        assert count(f"{tenants}&actor={world.operator.user_id}") == 3
        assert count(f"{tenants}&actor={acme.user_id}") == 0
        assert count(f"action=auth.*&actor={acme.user_id}") == 1
        assert count("outcome=failure") == 0
        assert count("since=2000-01-01T00:00:00Z&until=2001-01-01T00:00:00Z") == 0
        assert count(f"{tenants}&since=2000-01-01T00:00:00Z") == 3
        for query in ("outcome=none", "action=tenant.a*", "action=tenant", "action=.*"):
            refusal(world.operator.get(f"/api/audit?{query}"), 422, "validation_failed")
        refusal(world.operator.get("/api/audit?since=yesterday"), 422, "validation_failed")

    def test_what_did_not_happen_is_not_in_it(self, world: World, mongo: Client) -> None:
        owner = world.tenant("Acme")
        path = f"/api/tenants/{owner.tenant_id}"
        for failed in (
            world.add(name="acme", email="x@acme.example"),
            world.operator.patch(path, {"name": "operators"}),
            world.operator.post(f"{path}/purge", {"confirm": "x"}),
        ):
            assert failed.status_code == 409
        with failing(mongo, "alwaysOn", "commitTransaction", errorCode=2):
            assert act(world, owner, "suspend").status_code == 500
        assert audited(world, owner) == ["tenant.add"]
        assert status_of(world, owner) == "active"

    def test_what_cannot_be_recorded_does_not_happen(self, world: World, mongo: Client) -> None:
        owner = world.tenant("Acme")
        with failing(
            mongo, "alwaysOn", "insert", errorCode=2, namespace=f"{world.admin_db.name}.audit"
        ):
            assert act(world, owner, "suspend").status_code == 500
        assert status_of(world, owner) == "active"

    def test_a_change_names_the_fields_and_not_their_values(self, world: World) -> None:
        owner = world.tenant("Acme")
        world.operator.patch(f"/api/tenants/{owner.tenant_id}", {"name": "New", "userLimit": 3})
        entry = answer(world.operator.get("/api/audit?action=tenant.change"))["items"][0]
        assert entry["details"] == {"fields": ["name", "userLimit"]}
