"""Changing and removing users: who may, and that it ends their sessions."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId

from multitenant.repositories.model import utc_now
from tests.conftest import MakeWorld
from tests.integration.test_bad_input import contents
from tests.integration.user_requests import (
    FIELDS,
    USERS,
    add,
    emails,
    ended_by,
    invite,
    login,
    path_of,
)
from tests.support import PASSWORD, User, World, answer, eventually, refusal

Run = Callable[[list[Callable[[], Any]]], list[Any]]


@pytest.fixture
def watchful_world(make_world: MakeWorld) -> World:
    """A world in which every request reads revocations, as after a moment in any other."""
    return make_world(tenant_stale_seconds=0)


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
