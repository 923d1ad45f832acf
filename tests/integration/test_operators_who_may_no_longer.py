"""What an operator asked for is not done when they were logged out or removed while it waited."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId

from multitenant.repositories.tenant import users
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments import write_permission
from tests.support import PASSWORD, User, World, answer, in_thread, refusal

DEEDS: dict[str, tuple[str, str, Any]] = {
    "renaming": ("PATCH", "", {"name": "Another name"}),
    "isolating": ("PATCH", "", {"isolation": "dedicated"}),
    "suspending": ("POST", "/suspend", None),
    "deleting": ("DELETE", "", None),
    "activating": ("POST", "/activate", None),
    "restoring": ("POST", "/restore", None),
    "purging": ("POST", "/purge", {"confirm": "Acme"}),
    "impersonating": ("POST", "/impersonate", {"reason": "to see"}),
}
ACTOR = Actor.on_command_line()
STATUS_BEFORE = {"activating": "suspend", "restoring": "delete", "purging": "delete"}


def log_out(world: World, operator: User) -> None:
    assert operator.post("/api/logout").status_code == 200


def remove(world: World, operator: User) -> None:
    assert world.operator.delete(f"/api/users/{operator.user_id}").status_code == 200


@pytest.fixture
def operator(world: World) -> User:
    """One of two."""
    body = {"email": "second@example.com", "password": PASSWORD}
    assert world.operator.post("/api/users", body).status_code == 201
    return world.login("second@example.com")


@pytest.mark.parametrize("withdraw", [log_out, remove])
def test_nothing_is_done(
    world: World,
    operator: User,
    monkeypatch: pytest.MonkeyPatch,
    withdraw: Callable[[World, User], None],
) -> None:
    owner = world.tenant("Acme")
    tenant = f"/api/tenants/{owner.tenant_id}"
    monkeypatch.setattr(write_permission, "RECHECK_SECONDS", 0)
    lifecycle = world.platform.lifecycle
    changeable, find_sound_user = lifecycle._changeable, users.find_sound_user

    for deed, (method, path, body) in DEEDS.items():
        operator = world.login("second@example.com")
        if before := STATUS_BEFORE.get(deed):
            lifecycle.move(ObjectId(owner.tenant_id), before, ACTOR)
        if deed == "impersonating":
            body = {**body, "userId": owner.user_id}
        record = world.record(owner.tenant_id)
        done: list[Any] = []

        def wait(done: list[Any] = done, operator: User = operator) -> None:
            if not done:
                done.append(in_thread(lambda: withdraw(world, operator)))

        def look(*args: Any, wait: Callable[[], None] = wait) -> Any:
            wait()
            return changeable(*args)

        def find(*args: Any, wait: Callable[[], None] = wait) -> Any:
            wait()
            return find_sound_user(*args)

        with monkeypatch.context() as patched:
            patched.setattr(lifecycle, "_changeable", look)
            patched.setattr(users, "find_sound_user", find)
            refusal(operator.send(method, tenant + path, body), 401, "token_revoked")
        assert done, deed
        assert world.record(owner.tenant_id) == record, deed
        if before:
            back = "activate" if before == "suspend" else "restore"
            lifecycle.move(ObjectId(owner.tenant_id), back, ACTOR)
        if withdraw is remove:
            body = {"email": "second@example.com", "password": PASSWORD}
            assert world.operator.post("/api/users", body).status_code == 201
    assert world.admin_db["audit"].count_documents({"action": "tenant.impersonate"}) == 0
    assert answer(owner.get("/api/users/me"))["id"] == owner.user_id
