"""A copy whose writes no majority has confirmed is no copy: it is written again, or given up with
an error that says so. The same for commits."""

from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId

from multitenant.errors import BackupError
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.actor import Actor
from tests.conftest import Client
from tests.failpoints import end_faults, fail
from tests.integration.test_move import move, nothing_is_left, titles, todo
from tests.support import PASSWORD, User, World, answer, refusal

UNCONFIRMED = [64, 79, 100, 50, 2]
"""Codes with which MongoDB says that a write was done and is not confirmed. With others, such as 91
and 11600, PyMongo sends it again."""


@pytest.fixture
def failing(blue: Client) -> Iterator[Client]:
    """The cluster `blue`, where nothing fails any more when the test ends."""
    yield blue
    end_faults(blue)


@pytest.fixture
def owner(world: World, failing: Client) -> User:
    """The owner of a tenant that can be moved there."""
    owner = world.tenant("Acme", cluster="default")
    todo(owner, "first")
    return owner


def unconfirmed(blue: Client, mode: Any, code: int) -> None:
    """Let the next writes there be done and not confirmed."""
    fail(blue, mode, "insert", writeConcernError={"code": code, "errmsg": "not confirmed"})


@pytest.mark.parametrize("code", [100, 91])
def test_what_was_not_confirmed_once_is_copied_again(
    world: World, owner: User, failing: Client, code: int
) -> None:
    """While the changes of the tenant are followed."""
    steps = iter(["while it is copied"])

    def interfere(_: str) -> None:
        for title in steps:
            todo(owner, title)
            unconfirmed(failing, {"times": 1}, code)

    moved = move(world, owner, tell=interfere)
    assert end_faults(failing)
    assert moved.followed >= 1
    assert titles(owner) == ["first", "while it is copied"]


def test_changes_that_are_never_confirmed_end_the_move(
    world: World, owner: User, failing: Client
) -> None:
    for code in UNCONFIRMED:

        def interfere(_: str, code: int = code) -> None:
            todo(owner, "while it is copied")
            unconfirmed(failing, "alwaysOn", code)

        with pytest.raises(BackupError, match=rf"'todos' cannot be written.*\(error {code}\)"):
            move(world, owner, tell=interfere)
        assert end_faults(failing)
        nothing_is_left(world, failing, owner)


def test_a_copy_that_is_not_confirmed_ends_the_move(
    world: World, owner: User, failing: Client
) -> None:
    for code in UNCONFIRMED:

        def interfere(_: int, code: int = code) -> None:
            unconfirmed(failing, "alwaysOn", code)

        with pytest.raises(BackupError, match=rf"cannot be written.*\(error {code}\)"):
            move(world, owner, progress=interfere)
        assert end_faults(failing)
        nothing_is_left(world, failing, owner)


def test_a_move_of_several_goes_on_after_one_that_was_not_confirmed(
    world: World, owner: User, failing: Client
) -> None:
    globex = world.tenant("Globex", cluster="default")
    records = [world.record(one.tenant_id) for one in (owner, globex)]

    def interfere(_: int) -> None:
        unconfirmed(failing, {"times": 1}, 100)

    moves = world.platform.moves.move_all(
        records[:1], Actor.on_command_line(), to="blue", parallel=1, progress=interfere
    )
    (outcome,) = list(moves)
    end_faults(failing)
    assert outcome.error is not None
    assert "cannot be written" in outcome.error
    moves = world.platform.moves.move_all(records, Actor.on_command_line(), to="blue", parallel=1)
    assert [one.error for one in moves] == [None, None]


def test_what_passes_is_not_called_a_document_that_is_refused(
    world: World, owner: User, failing: Client
) -> None:
    for code in (50, 112, 11601):

        def interfere(_: int, code: int = code) -> None:
            fail(failing, "alwaysOn", "insert", errorCode=code)

        with pytest.raises(BackupError, match="at the moment; try again later"):
            move(world, owner, progress=interfere)
        end_faults(failing)
        nothing_is_left(world, failing, owner)


def test_a_clone_that_is_not_confirmed_leaves_nothing(
    world: World, owner: User, failing: Client
) -> None:
    new = TenantCopy.model_validate({"name": "Twin", "cluster": "blue"})
    record = world.record(owner.tenant_id)

    def interfere(_: int) -> None:
        unconfirmed(failing, "alwaysOn", 100)

    with pytest.raises(BackupError, match=r"\(error 100\)"):
        world.platform.copies.clone(record, new, Actor.on_command_line(), interfere)
    end_faults(failing)
    nothing_is_left(world, failing, owner)


@pytest.mark.parametrize("code", [64, 100])
def test_a_tenant_whose_commit_was_not_confirmed_keeps_its_database(
    world: World, mongo: Client, code: int
) -> None:
    """It exists, whatever the answer: the same request is answered with it."""
    body = {"name": "Globex", "email": "owner@globex.example", "password": PASSWORD}
    key = {"headers": {"Idempotency-Key": str(ObjectId())}}
    operator = world.operator
    error = {"code": code, "errmsg": "not confirmed"}
    fail(mongo, "alwaysOn", "commitTransaction", writeConcernError=error)
    try:
        with_little_time(world)
        response = operator.post("/api/add", body, **key)
    finally:
        end_faults(mongo)
    refusal(response, 503, "database_unavailable")
    made = operator.post("/api/add", body, **key)
    assert made.status_code == 201, made.text
    owner = world.login("owner@globex.example")
    assert owner.tenant_id == answer(made)["tenantId"]
    assert owner.get("/api/users/me").status_code == 200


def with_little_time(world: World) -> None:
    """Let PyMongo give up soon what it commits again and again."""
    world.platform.provisioner._transaction_seconds = 1.0
