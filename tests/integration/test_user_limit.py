"""A tenant has no more users than its limit."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId

from multitenant.repositories.admin import tenant_users
from tests.integration.test_bad_input import contents
from tests.integration.user_requests import (
    USERS,
    emails,
    invite,
)
from tests.support import PASSWORD, World, refusal

Run = Callable[[list[Callable[[], Any]]], list[Any]]


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
