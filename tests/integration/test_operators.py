"""Operators are the users of their own tenant."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.user_requests import (
    ENDINGS,
    USERS,
    accept,
    active_owners,
    add,
    invite,
    path_of,
)
from tests.support import World, refusal

Run = Callable[[list[Callable[[], Any]]], list[Any]]


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
