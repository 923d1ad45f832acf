"""A tenant keeps an owner who can log in."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from bson import ObjectId

from multitenant.repositories.tenant import users
from tests.integration.user_requests import (
    active_owners,
    add,
    emails,
    ended_by,
    invite,
    path_of,
)
from tests.support import World, refusal

Run = Callable[[list[Callable[[], Any]]], list[Any]]


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
