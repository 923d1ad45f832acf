"""Collections, indexes and MongoDB users that were made and that no majority has confirmed are no
part of a copy yet: PyMongo takes such an answer to a command for success."""

from collections.abc import Iterator

import pytest
from pymongo.errors import WriteConcernError

from multitenant.errors import BackupError
from multitenant.repositories.durability import run_confirmed
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.actor import Actor
from tests.conftest import Client
from tests.failpoints import end_faults, fail
from tests.integration.test_move import move, nothing_is_left
from tests.support import World


@pytest.fixture
def failing(blue: Client) -> Iterator[Client]:
    """The cluster `blue`, where nothing fails any more when the test ends."""
    yield blue
    end_faults(blue)


def unconfirmed(client: Client, command: str, code: int) -> None:
    """Let such a command be done and not confirmed, and what is done when it is repeated."""
    error = {"code": code, "errmsg": "not confirmed"}
    fail(client, "alwaysOn", command, "updateUser", writeConcernError=error)


def test_a_collection_that_is_not_confirmed_ends_a_move_and_a_clone(
    world: World, failing: Client
) -> None:
    owner = world.tenant("Acme", cluster="default")
    db = world.db_of(owner.tenant_id)
    db.create_collection("log", capped=True, size=4096)  # is changed where it holds too much
    db["log"].insert_many([{"_id": n} for n in range(40)])
    db["log"].update_many({}, {"$set": {"x": "y" * 1000}})
    new = TenantCopy.model_validate({"name": "Twin", "cluster": "blue"})
    record = world.record(owner.tenant_id)
    for command, code in (("create", 64), ("createIndexes", 100), ("collMod", 91)):
        unconfirmed(failing, command, code)
        why = rf"cannot be .* at the moment.*\(error {code}\)"
        with pytest.raises(BackupError, match=why):
            move(world, owner)
        with pytest.raises(BackupError, match=why):
            world.platform.copies.clone(record, new, Actor.on_command_line(), lambda _: None)
        assert end_faults(failing)
        nothing_is_left(world, failing, owner)


def test_a_user_who_is_not_confirmed_ends_a_move(world: World, failing: Client) -> None:
    """Also where it was made at the first attempt, and is there at the second."""
    owner = world.tenant("Acme", cluster="default", isolation="dedicated")
    unconfirmed(failing, "createUser", 64)
    with pytest.raises(WriteConcernError, match="not confirmed"):
        move(world, owner)
    assert end_faults(failing)
    nothing_is_left(world, failing, owner)


def test_a_command_that_is_done_and_not_confirmed_raises(world: World, mongo: Client) -> None:
    db = world.admin_db
    unconfirmed(mongo, "create", 100)
    try:
        with pytest.raises(WriteConcernError) as raised:
            run_confirmed(db, {"create": "made"})
    finally:
        end_faults(mongo)
    assert raised.value.code == 100
    assert "made" in db.list_collection_names()
    db.drop_collection("made")
