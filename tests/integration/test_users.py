"""/api/users: adding, changing and removing the users of a tenant."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.admin import tenant_users
from multitenant.repositories.model import utc_now
from multitenant.repositories.tenant import users
from tests.conftest import MakeWorld
from tests.integration.test_bad_input import contents
from tests.integration.test_provisioning import WRITES, failing
from tests.support import PASSWORD, User, World, answer, eventually, refusal

Client = MongoClient[dict[str, Any]]
Run = Callable[[list[Callable[[], Any]]], list[Any]]

USERS = "/api/users"
FIELDS = {"id", "email", "role", "status", "createdAt", "updatedAt"}
# Whatever ends what a user may do, as a request about them.
ENDINGS: dict[str, tuple[str, Any]] = {
    "demoting": ("PATCH", {"role": "member"}),
    "disabling": ("PATCH", {"status": "disabled"}),
    "removing": ("DELETE", None),
}
ended_by = pytest.mark.parametrize(("method", "body"), ENDINGS.values(), ids=list(ENDINGS))


def add(world: World, by: User, name: str, **fields: Any) -> User:
    """Add a user with a password, and log them in."""
    email = f"{name}@acme.example"
    response = by.post(USERS, {"email": email, "password": PASSWORD, **fields})
    assert response.status_code == 201, response.text
    return world.login(email, tenant=by.tenant_id)


def invite(by: User, name: str, **fields: Any) -> dict[str, Any]:
    response = by.post(USERS, {"email": f"{name}@acme.example", **fields})
    assert response.status_code == 201, response.text
    invited: dict[str, Any] = answer(response)
    return invited


def accept(world: World, token: str) -> Any:
    return world.client.post("/api/invitations/accept", json={"token": token, "password": PASSWORD})


def login(world: World, email: str, **fields: Any) -> Any:
    return world.client.post("/api/login", json={"email": email, "password": PASSWORD, **fields})


def path_of(user: User) -> str:
    return f"{USERS}/{user.user_id}"


def emails(by: User) -> list[str]:
    return [user["email"].partition("@")[0] for user in answer(by.get(USERS))["items"]]


def active_owners(world: World, tenant: User) -> int:
    query = {"role": "owner", "status": "active"}
    return world.db_of(tenant.tenant_id)["users"].count_documents(query)


@pytest.fixture
def watchful_world(make_world: MakeWorld) -> World:
    """A world in which every request reads revocations, as after a moment in any other."""
    return make_world(tenant_stale_seconds=0)


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


class TestRoles:
    """Who may do what to whom."""

    def test_a_member_changes_nothing(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben, cleo = add(world, owner, "ben"), invite(owner, "cleo")
        before = contents(world)
        refusal(ben.post(USERS, {"email": "x@acme.example"}), 403, "role_required")
        for user_id in (owner.user_id, ben.user_id, cleo["id"]):
            path = f"{USERS}/{user_id}"
            refusal(ben.patch(path, {"role": "admin"}), 403, "role_required")
            refusal(ben.patch(path, {"status": "disabled"}), 403, "role_required")
            refusal(ben.post(f"{path}/invitation"), 403, "role_required")
            refusal(ben.delete(path), 403, "role_required")
        assert contents(world) == before

    def test_an_admin_manages_members_and_admins(self, world: World) -> None:
        owner = world.tenant("Acme")
        admin = add(world, owner, "ada", role="admin")
        ben = add(world, admin, "ben")
        cleo = add(world, admin, "cleo", role="admin")
        assert answer(admin.patch(path_of(ben), {"role": "admin"}))["role"] == "admin"
        assert answer(admin.patch(path_of(cleo), {"role": "member"}))["role"] == "member"
        assert admin.delete(path_of(ben)).status_code == 200
        assert emails(owner) == ["owner", "ada", "cleo"]

    def test_an_admin_neither_makes_nor_touches_owners(self, world: World) -> None:
        owner = world.tenant("Acme")
        admin, second = add(world, owner, "ada", role="admin"), add(world, owner, "sue")
        owner.patch(path_of(second), {"role": "owner"})
        invited = invite(owner, "ivy", role="owner")
        ben = add(world, owner, "ben")
        before = contents(world)

        new = {"email": "x@acme.example", "role": "owner"}
        refusal(admin.post(USERS, new), 403, "role_required")
        refusal(admin.patch(path_of(ben), {"role": "owner"}), 403, "role_required")
        for owner_id in (owner.user_id, second.user_id, invited["id"]):
            path = f"{USERS}/{owner_id}"
            refusal(admin.patch(path, {"role": "member"}), 403, "role_required")
            refusal(admin.patch(path, {"status": "disabled"}), 403, "role_required")
            refusal(admin.delete(path), 403, "role_required")
            refusal(admin.post(f"{path}/invitation"), 403, "role_required")
        assert contents(world) == before

    @ended_by
    def test_nobody_does_it_to_themselves(self, world: World, method: str, body: Any) -> None:
        owner = world.tenant("Acme")
        add(world, owner, "sue", role="owner")
        admin = add(world, owner, "ada", role="admin")
        for user in (owner, admin):
            refusal(user.send(method, path_of(user), body), 409, "conflict")
            assert user.get("/api/users/me").status_code == 200

    def test_a_role_that_was_taken_away_counts_at_once_in_the_transaction(
        self, world: World
    ) -> None:
        """As when the token is not yet known to be void, in another process."""
        owner = world.tenant("Acme")
        admin, ben = add(world, owner, "ada", role="admin"), add(world, owner, "ben")
        stored = world.db_of(owner.tenant_id)["users"]
        for taken in ({"role": "member"}, {"role": "admin", "status": "disabled"}):
            stored.update_one({"_id": ObjectId(admin.user_id)}, {"$set": taken})
            before = contents(world)
            for method, path, body in (
                ("POST", USERS, {"email": "x@acme.example"}),
                ("PATCH", path_of(ben), {"role": "admin"}),
                ("DELETE", path_of(ben), None),
            ):
                refusal(admin.send(method, path, body), 401, "token_revoked")
            assert contents(world) == before


class TestChange:
    """PATCH and DELETE /api/users/{id}."""

    def test_a_new_role_counts_from_the_next_login(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        changed = answer(owner.patch(path_of(ben), {"role": "admin"}))
        assert (set(changed), changed["role"]) == (FIELDS, "admin")
        refusal(ben.get("/api/users/me"), 401, "token_revoked")
        again = world.login("ben@acme.example")
        assert again.post(USERS, {"email": "x@acme.example"}).status_code == 201

    def test_a_disabled_user_is_out_and_an_enabled_one_back_with_their_password(
        self, world: World
    ) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        assert answer(owner.patch(path_of(ben), {"status": "disabled"}))["status"] == "disabled"
        refusal(login(world, "ben@acme.example"), 401, "credentials_invalid")
        refusal(ben.get("/api/users/me"), 401, "token_revoked")

        assert answer(owner.patch(path_of(ben), {"status": "active"}))["status"] == "active"
        assert world.login("ben@acme.example").get("/api/users/me").status_code == 200
        refusal(ben.get("/api/users/me"), 401, "token_revoked")

    def test_a_removed_user_is_gone_and_the_email_free(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        removed = answer(owner.delete(path_of(ben)))
        assert (set(removed), removed["id"]) == (FIELDS, ben.user_id)
        refusal(login(world, "ben@acme.example"), 401, "credentials_invalid")
        for method in ("GET", "DELETE"):
            refusal(owner.send(method, path_of(ben)), 404, "not_found")
        assert emails(owner) == ["owner"]
        again = add(world, owner, "ben")
        assert again.user_id != ben.user_id
        refusal(ben.get("/api/users/me"), 401, "token_revoked")

    @ended_by
    def test_it_ends_every_token_and_that_outlives_them(
        self, watchful_world: World, method: str, body: Any
    ) -> None:
        world = watchful_world
        owner = world.tenant("Acme")
        ben, elsewhere = add(world, owner, "ben", role="admin"), world.login("ben@acme.example")

        assert owner.send(method, path_of(ben), body).status_code == 200

        for session in (ben, elsewhere):
            refusal(session.get("/api/users/me"), 401, "token_revoked")
            refresh = world.client.post("/api/refresh", headers={"jwt": session.refresh})
            refusal(refresh, 401, "token_revoked")
        record = world.admin_db["revocations"].find_one({"_id": f"{owner.tenant_id}/{ben.user_id}"})
        assert record is not None
        assert record["expiresAt"] > utc_now() + world.platform.tokens.longest_life

    @ended_by
    def test_it_also_ends_the_session_that_a_new_password_has_spared(
        self, watchful_world: World, method: str, body: Any
    ) -> None:
        world = watchful_world
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben", role="admin")
        change = {"currentPassword": PASSWORD, "newPassword": "a new password"}
        assert ben.put("/api/users/me/password", change).status_code == 200
        assert ben.get("/api/users/me").status_code == 200

        assert owner.send(method, path_of(ben), body).status_code == 200

        refusal(ben.get("/api/users/me"), 401, "token_revoked")

    @ended_by
    def test_another_process_hears_of_it_and_refuses_the_token(
        self, make_world: MakeWorld, method: str, body: Any
    ) -> None:
        here, there = make_world(), make_world(tenant_stale_seconds=30)
        eventually(lambda: there.platform.watcher.vouches_for(time.monotonic()))
        owner = here.tenant("Acme")
        ben = add(here, owner, "ben", role="admin")
        ben_there = User(there.client, ben.tenant_id, ben.user_id, ben.access, ben.refresh)
        assert ben_there.get("/api/users/me").status_code == 200

        assert owner.send(method, path_of(ben), body).status_code == 200

        eventually(lambda: ben_there.get("/api/users/me").status_code == 401)
        refusal(ben_there.get("/api/users/me"), 401, "token_revoked")

    def test_a_login_that_races_with_the_removal_gets_a_token_that_is_void(
        self, watchful_world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = watchful_world
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        verify = world.platform.authenticator._hasher.verify

        def remove_meanwhile(*args: Any) -> bool:
            assert owner.delete(path_of(ben)).status_code == 200
            return verify(*args)

        monkeypatch.setattr(world.platform.authenticator._hasher, "verify", remove_meanwhile)
        late = world.login("ben@acme.example")
        refusal(late.get("/api/users/me"), 401, "token_revoked")
        refresh = world.client.post("/api/refresh", headers={"jwt": late.refresh})
        refusal(refresh, 401, "token_revoked")

    def test_what_is_so_already_changes_nothing_and_ends_no_session(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        before = contents(world)
        body = {"role": "member", "status": "active"}
        assert answer(owner.patch(path_of(ben), body))["role"] == "member"
        assert contents(world) == before
        assert ben.get("/api/users/me").status_code == 200

    def test_two_changes_of_one_user_at_a_time_do_not_mix(
        self, world: World, run_together: Run
    ) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        responses = run_together(
            [
                lambda: owner.patch(path_of(ben), {"role": "admin"}),
                lambda: owner.patch(path_of(ben), {"status": "disabled"}),
                lambda: owner.delete(path_of(ben)),
            ]
        )
        statuses = [response.status_code for response in responses]
        assert 200 in statuses
        assert set(statuses) <= {200, 404, 409}
        assert ("ben" in emails(owner)) == (statuses[2] != 200)
        kept = world.admin_db["tenantusers"].count_documents({"email": "ben@acme.example"})
        assert kept == (statuses[2] != 200)


class TestInvitations:
    """POST /api/users/{id}/invitation, and what ends an invitation."""

    def test_a_new_invitation_works_and_the_one_before_does_not(self, world: World) -> None:
        owner = world.tenant("Acme")
        first = invite(owner, "ben")
        response = owner.post(f"{USERS}/{first['id']}/invitation")
        second = answer(response)
        assert (response.status_code, set(second)) == (201, {*FIELDS, "invitationToken"})
        assert second["id"] == first["id"]

        refusal(accept(world, first["invitationToken"]), 401, "token_revoked")
        assert accept(world, second["invitationToken"]).status_code == 200
        assert world.login("ben@acme.example").user_id == first["id"]

    def test_only_who_is_invited_is_invited_again(self, world: World) -> None:
        owner = world.tenant("Acme")
        ben = add(world, owner, "ben")
        refusal(owner.post(f"{path_of(ben)}/invitation"), 409, "conflict")
        owner.patch(path_of(ben), {"status": "disabled"})
        refusal(owner.post(f"{path_of(ben)}/invitation"), 409, "conflict")
        refusal(owner.post(f"{USERS}/{ObjectId()}/invitation"), 404, "not_found")

    def test_the_invitation_of_a_removed_user_is_void_also_when_they_are_added_again(
        self, world: World
    ) -> None:
        owner = world.tenant("Acme")
        first = invite(owner, "ben")
        assert owner.delete(f"{USERS}/{first['id']}").status_code == 200
        refusal(accept(world, first["invitationToken"]), 401, "token_revoked")
        invite(owner, "ben")
        refusal(accept(world, first["invitationToken"]), 401, "token_revoked")

    def test_the_invitation_of_a_disabled_user_is_void_and_enabling_them_takes_a_new_one(
        self, world: World
    ) -> None:
        owner = world.tenant("Acme")
        invited = invite(owner, "ben")
        path = f"{USERS}/{invited['id']}"
        assert answer(owner.patch(path, {"status": "disabled"}))["status"] == "disabled"
        refusal(accept(world, invited["invitationToken"]), 401, "token_revoked")

        assert answer(owner.patch(path, {"status": "active"}))["status"] == "invited"
        refusal(accept(world, invited["invitationToken"]), 401, "token_revoked")
        again = answer(owner.post(f"{path}/invitation"))
        assert accept(world, again["invitationToken"]).status_code == 200

    def test_an_invited_user_is_not_active_by_decree(self, world: World) -> None:
        owner = world.tenant("Acme")
        invited = invite(owner, "ben")
        response = owner.patch(f"{USERS}/{invited['id']}", {"status": "active"})
        refusal(response, 409, "conflict")

    @pytest.mark.parametrize("role", ["member", "owner"])
    def test_another_role_makes_an_open_invitation_void(self, world: World, role: str) -> None:
        """An admin who invited somebody holds the invitation, and must not become an owner."""
        owner = world.tenant("Acme")
        ada = add(world, owner, "ada", role="admin")
        invited = invite(ada, "ben", role="admin")
        path = f"{USERS}/{invited['id']}"
        assert answer(owner.patch(path, {"role": role}))["status"] == "invited"
        refusal(accept(world, invited["invitationToken"]), 401, "token_revoked")
        again = answer(owner.post(f"{path}/invitation"))
        assert accept(world, again["invitationToken"]).status_code == 200
        assert (
            world.login("ben@acme.example").get(f"{USERS}/me").get_json()["responseObject"]["role"]
            == role
        )


class TestLastOwner:
    """A tenant always has an active owner."""

    @ended_by
    def test_of_two_owners_who_do_it_to_each_other_one_remains(
        self, world: World, run_together: Run, method: str, body: Any
    ) -> None:
        owner = world.tenant("Acme")
        second = add(world, owner, "sue", role="owner")
        responses = run_together(
            [
                lambda: owner.send(method, path_of(second), body),
                lambda: second.send(method, path_of(owner), body),
            ]
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses in ([200, 409], [200, 401]), "401: the token was void already"
        assert active_owners(world, owner) == 1

    @ended_by
    def test_that_is_so_also_when_both_have_seen_the_other(
        self,
        world: World,
        run_together: Run,
        monkeypatch: pytest.MonkeyPatch,
        method: str,
        body: Any,
    ) -> None:
        """Each transaction waits, having checked, for the other to have checked as well."""
        owner = world.tenant("Acme")
        second = add(world, owner, "sue", role="owner")
        has_other_owner = users.has_other_owner
        both = threading.Barrier(2)

        def check_and_wait(*args: Any) -> bool:
            found = has_other_owner(*args)
            with suppress(threading.BrokenBarrierError):
                both.wait(0.5)
            return found

        monkeypatch.setattr(users, "has_other_owner", check_and_wait)
        responses = run_together(
            [
                lambda: owner.send(method, path_of(second), body),
                lambda: second.send(method, path_of(owner), body),
            ]
        )
        assert sorted(response.status_code for response in responses) == [200, 409]
        refused = next(response for response in responses if response.status_code == 409)
        refusal(refused, 409, "conflict")
        assert active_owners(world, owner) == 1

    @ended_by
    def test_an_owner_who_cannot_log_in_does_not_count(
        self, world: World, method: str, body: Any
    ) -> None:
        """Neither the one who asks, with a token that is not known to be void yet, nor one who is
        invited: nobody would be left."""
        owner = world.tenant("Acme")
        second = add(world, owner, "sue", role="owner")
        invite(owner, "ivy", role="owner")
        stored = world.db_of(owner.tenant_id)["users"]
        stored.update_one({"_id": ObjectId(second.user_id)}, {"$set": {"status": "disabled"}})
        refusal(second.send(method, path_of(owner), body), 409, "conflict")
        assert active_owners(world, owner) == 1

    def test_with_another_owner_an_owner_goes(self, world: World) -> None:
        owner = world.tenant("Acme")
        second = add(world, owner, "sue", role="owner")
        assert second.delete(path_of(owner)).status_code == 200
        assert emails(second) == ["sue"]


class TestUserLimit:
    """`userLimit` on the tenant's record."""

    def test_one_more_user_is_refused_and_a_removed_one_makes_room(self, world: World) -> None:
        owner = world.tenant("Acme", userLimit=2)
        ben = invite(owner, "ben")
        before = contents(world)
        refusal(owner.post(USERS, {"email": "x@acme.example"}), 409, "user_limit_reached")
        assert contents(world) == before
        owner.patch(f"{USERS}/{ben['id']}", {"status": "disabled"})
        refusal(owner.post(USERS, {"email": "x@acme.example"}), 409, "user_limit_reached")
        owner.delete(f"{USERS}/{ben['id']}")
        invite(owner, "cleo")

    def test_it_holds_when_ten_race(self, world: World, run_together: Run) -> None:
        owner = world.tenant("Acme", userLimit=4)

        def adding(number: int) -> Callable[[], Any]:
            body = {"email": f"user{number}@acme.example", "password": PASSWORD}
            return lambda: owner.post(USERS, body)

        responses = run_together([adding(number) for number in range(10)])

        assert sorted(response.status_code for response in responses) == [201] * 3 + [409] * 7
        for response in responses:
            if response.status_code == 409:
                refusal(response, 409, "user_limit_reached")
        assert len(emails(owner)) == 4
        tenant_id = ObjectId(owner.tenant_id)
        assert world.admin_db["tenantusers"].count_documents({"tenantId": tenant_id}) == 4

    def test_a_lowered_limit_keeps_the_users_and_admits_no_more(self, world: World) -> None:
        owner = world.tenant("Acme", userLimit=5)
        invite(owner, "ben")
        path = f"/api/tenants/{owner.tenant_id}"
        assert world.operator.patch(path, {"userLimit": 1}).status_code == 200
        assert emails(owner) == ["owner", "ben"]
        refusal(owner.post(USERS, {"email": "x@acme.example"}), 409, "user_limit_reached")
        assert world.operator.patch(path, {"userLimit": None}).status_code == 200
        invite(owner, "cleo")

    def test_a_limit_that_is_lowered_while_somebody_is_added_counts(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once the operator has the answer, nobody is added beyond it."""
        owner, operator = world.tenant("Acme", userLimit=5), world.operator
        path = f"/api/tenants/{owner.tenant_id}"
        answered = threading.Event()
        lowered: list[bool] = []
        count = tenant_users.count_tenant_users

        def lower() -> None:
            assert operator.patch(path, {"userLimit": 1}).status_code == 200
            answered.set()

        thread = threading.Thread(target=lower)

        def lower_meanwhile(*args: Any, **kwargs: Any) -> int:
            counted = count(*args, **kwargs)
            if not lowered:
                thread.start()
                lowered.append(answered.wait(0.5))
            return counted

        monkeypatch.setattr(tenant_users, "count_tenant_users", lower_meanwhile)
        response = owner.post(USERS, {"email": "ben@acme.example"})
        thread.join()

        assert not (lowered[0] and response.status_code == 201), "added after the answer"
        refusal(owner.post(USERS, {"email": "x@acme.example"}), 409, "user_limit_reached")


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


class TestOperators:
    """The users of the operators' tenant, by the same routes."""

    def test_an_added_operator_operates_and_a_removed_one_does_not(self, world: World) -> None:
        olga = add(world, world.operator, "olga")
        assert olga.get("/api/tenants").status_code == 200
        assert olga.post(USERS, {"email": "oskar@acme.example"}).status_code == 201

        assert world.operator.delete(path_of(olga)).status_code == 200

        refusal(olga.get("/api/tenants"), 401, "token_revoked")

    def test_an_invited_operator_operates(self, world: World) -> None:
        invited = invite(world.operator, "olga")
        assert accept(world, invited["invitationToken"]).status_code == 200
        assert world.login("olga@acme.example").get("/api/tenants").status_code == 200

    def test_operators_have_no_other_role(self, world: World) -> None:
        body = {"email": "olga@acme.example", "role": "member"}
        response = world.operator.post(USERS, body)
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "role"
        olga = add(world, world.operator, "olga", role="owner")
        response = world.operator.patch(path_of(olga), {"role": "admin"})
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "role"

    @pytest.mark.parametrize("what", ["disabling", "removing"])
    def test_the_last_operator_stays(self, world: World, run_together: Run, what: str) -> None:
        method, body = ENDINGS[what]
        operator = world.operator
        refusal(operator.send(method, path_of(operator), body), 409, "conflict")
        olga = add(world, operator, "olga")
        responses = run_together(
            [
                lambda: operator.send(method, path_of(olga), body),
                lambda: olga.send(method, path_of(operator), body),
            ]
        )
        statuses = sorted(response.status_code for response in responses)
        assert statuses in ([200, 409], [200, 401])
        assert active_owners(world, operator) == 1
