"""Invitations of users: each works once, and only while it is the newest."""

import pytest
from bson import ObjectId

from tests.integration.user_requests import FIELDS, USERS, accept, add, invite, path_of
from tests.support import World, answer, refusal


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
