"""/api/users: adding and reading the users of a tenant, in both databases or in neither."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.admin import tenant_users
from tests.failpoints import failing
from tests.integration.test_bad_input import contents
from tests.integration.test_provisioning import WRITES
from tests.integration.user_requests import (
    FIELDS,
    USERS,
    accept,
    add,
    emails,
    invite,
    login,
    path_of,
)
from tests.support import PASSWORD, User, World, answer, refusal

Client = MongoClient[dict[str, Any]]
Run = Callable[[list[Callable[[], Any]]], list[Any]]


class TestAdd:
    """POST /api/users."""

    def test_a_user_with_a_password_logs_in(self, world: World) -> None:
        owner = world.tenant("Acme")
        body = {"email": " Ben@ACME.example ", "password": PASSWORD}
        response = owner.post(USERS, body)

        added = answer(response)
        assert (response.status_code, set(added)) == (201, FIELDS)
        assert (added["email"], added["role"], added["status"]) == (
            "ben@acme.example",
            "member",
            "active",
        )
        ben = world.login("ben@acme.example")
        assert (ben.user_id, ben.tenant_id) == (added["id"], owner.tenant_id)
        assert answer(ben.get("/api/users/me")) == added

    def test_both_databases_know_them_by_one_id_and_the_admin_database_has_no_hash(
        self, world: World
    ) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        membership = world.admin_db["tenantusers"].find_one({"_id": ObjectId(ben.user_id)})
        assert membership == {
            "_id": ObjectId(ben.user_id),
            "email": "ben@acme.example",
            "tenantId": ObjectId(owner.tenant_id),
        }
        user = world.db_of(owner.tenant_id)["users"].find_one({"_id": ObjectId(ben.user_id)})
        assert user is not None
        assert user["password"].startswith("$2b$")
        kept = [
            list(world.admin_db[name].find()) for name in world.admin_db.list_collection_names()
        ]
        assert "$2b$" not in str(kept)
        assert PASSWORD not in str(kept)

    def test_a_user_without_a_password_is_invited_once(self, world: World) -> None:
        owner = world.tenant("Acme")
        invited = invite(owner, "ben", role="admin")
        assert set(invited) == {*FIELDS, "invitationToken"}
        assert (invited["role"], invited["status"]) == ("admin", "invited")
        refusal(login(world, "ben@acme.example"), 401, "credentials_invalid")

        assert accept(world, invited["invitationToken"]).status_code == 200

        ben = world.login("ben@acme.example")
        assert answer(ben.get("/api/users/me"))["status"] == "active"
        refusal(accept(world, invited["invitationToken"]), 401, "token_revoked")

    def test_an_email_belongs_to_a_tenant_once_however_it_is_spelt(self, world: World) -> None:
        owner = world.tenant("Acme")
        for email in ("owner@acme.example", "OWNER@Acme.Example"):
            response = owner.post(USERS, {"email": email, "password": PASSWORD})
            assert refusal(response, 409, "already_exists")["incorrectField"] == "email"
        assert emails(owner) == ["owner"]

    def test_of_eight_that_add_the_same_email_one_succeeds(
        self, world: World, run_together: Run
    ) -> None:
        owner = world.tenant("Acme")
        body = {"email": "ben@acme.example", "password": PASSWORD}
        responses = run_together([lambda: owner.post(USERS, body)] * 8)
        assert sorted(response.status_code for response in responses) == [201] + [409] * 7
        assert emails(owner) == ["owner", "ben"]

    def test_an_email_may_belong_to_several_tenants_and_login_tells_them_apart(
        self, world: World
    ) -> None:
        acme, globex = world.tenant("Acme"), world.tenant("Globex")
        other = "another password"
        for owner, password in ((acme, PASSWORD), (globex, other)):
            body = {"email": "ben@acme.example", "password": password}
            assert owner.post(USERS, body).status_code == 201

        assert world.login("ben@acme.example", PASSWORD).tenant_id == acme.tenant_id
        assert world.login("ben@acme.example", other).tenant_id == globex.tenant_id
        refused = login(world, "ben@acme.example", tenant="Globex")
        refusal(refused, 401, "credentials_invalid")


class TestRead:
    """GET /api/users and /api/users/{id}."""

    def test_every_user_of_the_tenant_may_read_and_sees_no_secret(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        invited = invite(owner, "cleo")
        del invited["invitationToken"]

        for reader in (owner, ben):
            listed = answer(reader.get(USERS))["items"]
            assert [user["email"][:4] for user in listed] == ["owne", "ben@", "cleo"]
            assert all(set(user) == FIELDS for user in listed)
            assert answer(reader.get(f"{USERS}/{invited['id']}")) == invited
        refusal(owner.get(f"{USERS}/{ObjectId()}"), 404, "not_found")

    @pytest.mark.parametrize("limit", [1, 2, 5])
    def test_pages_show_every_user_once_in_the_order_they_were_added(
        self, world: World, limit: int
    ) -> None:
        owner = world.tenant("Acme")
        ids = [owner.user_id, *(invite(owner, f"user{number}")["id"] for number in range(4))]
        seen: list[str] = []
        query = f"?limit={limit}"
        while True:
            page = answer(owner.get(USERS + query))
            assert len(page["items"]) <= limit
            seen += [user["id"] for user in page["items"]]
            if page["nextCursor"] is None:
                break
            query = f"?limit={limit}&cursor={page['nextCursor']}"
        assert seen == ids

    def test_another_tenants_users_do_not_exist(self, world: World) -> None:
        acme, globex = world.tenant("Acme"), world.tenant("Globex")
        ben = add(world, acme, "ben")
        cleo = invite(acme, "cleo")
        before = contents(world)

        assert emails(globex) == ["owner"]
        for user_id in (ben.user_id, cleo["id"], acme.user_id):
            path = f"{USERS}/{user_id}"
            refusal(globex.get(path), 404, "not_found")
            refusal(globex.patch(path, {"role": "admin"}), 404, "not_found")
            refusal(globex.post(f"{path}/invitation"), 404, "not_found")
            refusal(globex.delete(path), 404, "not_found")
        assert contents(world) == before


class TestBothOrNeither:
    """Failing at any write leaves everything as it was."""

    @pytest.mark.parametrize("what", ["add", "invite", "promote", "disable", "remove", "again"])
    def test_failing_at_any_write_changes_nothing(
        self, world: World, mongo: Client, what: str
    ) -> None:
        owner = world.tenant("Acme")
        named = {name: add(world, owner, name) for name in ("ben", "cleo")}
        invited = {name: invite(owner, f"{name}-invited")["id"] for name in named}

        def do(name: str) -> Any:
            path = path_of(named[name])
            new = {"email": f"{name}-new@acme.example"}
            return {
                "add": lambda: owner.post(USERS, {**new, "password": PASSWORD}),
                "invite": lambda: owner.post(USERS, new),
                "promote": lambda: owner.patch(path, {"role": "admin"}),
                "disable": lambda: owner.patch(path, {"status": "disabled"}),
                "remove": lambda: owner.delete(path),
                "again": lambda: owner.post(f"{USERS}/{invited[name]}/invitation"),
            }[what]()

        commands = (*WRITES, "findAndModify")
        world.recorder.commands.clear()
        assert do("ben").status_code in (200, 201)
        sent = [name for _, name, _ in world.recorder.commands if name in commands]
        assert len(sent) >= 4, "turn, user, audit, commit"
        before = contents(world)

        for step, command in enumerate(sent):
            with failing(mongo, {"skip": sent[:step].count(command)}, command, errorCode=2):
                response = do("cleo")
            assert response.status_code == 500, f"write {step}, {command}: {response.text}"
            assert contents(world) == before, f"write {step}, {command}"

        assert do("cleo").status_code in (200, 201)

    def test_a_purge_meanwhile_leaves_no_membership_behind(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, operator = world.tenant("Acme"), world.operator
        path = f"/api/tenants/{owner.tenant_id}"
        insert = tenant_users.insert_tenant_user
        purged: list[Any] = []

        def purge() -> None:
            operator.delete(path)
            purged.append(operator.post(f"{path}/purge", {"confirm": "Acme"}))

        thread = threading.Thread(target=purge)

        def purge_meanwhile(*args: Any, **kwargs: Any) -> Any:
            if not thread.ident:
                thread.start()
                thread.join(0.7)
            return insert(*args, **kwargs)

        monkeypatch.setattr(tenant_users, "insert_tenant_user", purge_meanwhile)
        owner.post(USERS, {"email": "ben@acme.example"})
        thread.join()

        assert all(answer(purged[0])["gone"].values())
        tenant_id = ObjectId(owner.tenant_id)
        assert world.admin_db["tenantusers"].count_documents({"tenantId": tenant_id}) == 0
        assert world.admin_db["turns"].count_documents({"_id": tenant_id}) == 0

    def test_a_transient_error_is_not_seen(self, world: World, mongo: Client) -> None:
        owner = world.tenant("Acme")
        labels = {"errorCode": 112, "errorLabels": ["TransientTransactionError"]}
        with failing(mongo, {"times": 2}, "commitTransaction", **labels):
            invite(owner, "ben")
        assert emails(owner) == ["owner", "ben"]


class TestAudit:
    """What the audit log has of it."""

    def entries(self, world: World) -> list[dict[str, Any]]:
        page = answer(world.operator.get("/api/audit?action=user.*"))
        return list(reversed(page["items"]))

    def test_each_deed_is_there_with_who_did_it_and_no_secret(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        cleo = invite(owner, "cleo")
        owner.patch(path_of(ben), {"role": "admin"})
        again = answer(owner.post(f"{USERS}/{cleo['id']}/invitation"))
        owner.delete(path_of(ben))

        entries = self.entries(world)
        assert [entry["action"] for entry in entries] == [
            *("user.add", "user.add", "user.change", "user.invite", "user.remove")
        ]
        for entry in entries:
            assert entry["actor"] == owner.user_id
            assert entry["tenantId"] == owner.tenant_id
            assert set(entry["details"]) <= {"userId", "email", "role", "status"}
        assert entries[2]["details"] == {
            "userId": ben.user_id,
            "email": "ben@acme.example",
            "role": "admin",
        }
        for secret in (PASSWORD, cleo["invitationToken"], again["invitationToken"], "$2b$"):
            assert secret not in str(entries)

    def test_an_operator_who_acts_as_the_owner_is_named(self, world: World) -> None:
        owner = world.tenant("Acme")
        body = {"userId": owner.user_id, "reason": "Ticket 4711"}
        path = f"/api/tenants/{owner.tenant_id}/impersonate"
        token = answer(world.operator.post(path, body))["accessToken"]
        assistant = User(world.client, owner.tenant_id, owner.user_id, token, "")
        invite(assistant, "ben")
        entry = self.entries(world)[0]
        assert entry["actor"] == world.operator.user_id
        assert entry["actingAs"] == owner.user_id
