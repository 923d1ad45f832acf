"""A process that stood still for so long that it counted as gone, with a request in its hands,
writes nothing to the database that the tenant had when the request began."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.model import Model
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments import write_permission
from tests.integration.backups import back_up, restore
from tests.support import PASSWORD, User, World, answer, in_thread, refusal

Client = MongoClient[dict[str, Any]]
ACTOR = Actor.on_command_line()


def move(world: World, owner: User, backup: Path) -> None:
    world.platform.moves.move(ObjectId(owner.tenant_id), ACTOR, to="blue")


def take_back(world: World, owner: User, backup: Path) -> None:
    restore(world, backup)


def change_password(world: World, owner: User, backup: Path) -> None:
    email = answer(owner.get("/api/users/me"))["email"]
    body = {"currentPassword": PASSWORD, "newPassword": "another password"}
    assert world.login(email).put("/api/users/me/password", body).status_code == 200


@pytest.mark.parametrize(
    ("act", "status", "code"),
    [
        (move, 503, "tenant_maintenance"),
        (take_back, 503, "tenant_maintenance"),
        (change_password, 401, "token_revoked"),
    ],
)
def test_the_request_is_refused(
    world: World,
    blue: Client,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[World, User, Path], None],
    status: int,
    code: str,
) -> None:
    owner = world.tenant("Acme", cluster="default")
    backup = back_up(world, owner, tmp_path)
    old = world.db_of(owner.tenant_id)
    insert = Model.insert
    acted: list[None] = []

    def insert_late(model: Model, **fields: Any) -> Any:
        if model.name == "todos" and not acted:
            world.admin_db["processes"].delete_many({})
            acted.append(in_thread(lambda: act(world, owner, backup)))
        return insert(model, **fields)

    with monkeypatch.context() as patched:
        patched.setattr(write_permission, "RECHECK_SECONDS", -1.0)
        patched.setattr(Model, "insert", insert_late)
        refusal(owner.post("/api/to-do-list", {"title": "Too late"}), status, code)
    assert acted
    assert old["todos"].count_documents({}) == 0
    record = world.record(owner.tenant_id)
    client = blue if record["cluster"] == "blue" else world.admin_db.client
    assert client[record["dbName"]]["todos"].count_documents({}) == 0
