"""A token is as old as what it says: whoever stands still between reading a user and issuing a
token for them issues one that is withdrawn with all others of that time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multitenant.tenancy.actor import Actor
from tests.integration.backups import back_up, restore
from tests.support import PASSWORD, User, World, answer, in_thread, refusal


def log_in(world: World, ben: User, email: str) -> Any:
    return world.client.post("/api/login", json={"email": email, "password": PASSWORD})


def refresh(world: World, ben: User, email: str) -> Any:
    return world.client.post("/api/refresh", headers={"jwt": ben.refresh})


def impersonate(world: World, ben: User, email: str) -> Any:
    body = {"userId": ben.user_id, "reason": "to see"}
    return world.operator.post(f"/api/tenants/{ben.tenant_id}/impersonate", body)


@pytest.mark.slow
@pytest.mark.parametrize("come_by", [log_in, refresh, impersonate])
def test_a_restore_in_the_middle_withdraws_it(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, come_by: Callable[..., Any]
) -> None:
    """Ben was no admin yet when the backup was made. The process that lets him in has read his role
    before the restore, and goes on half a minute after it."""
    owner = world.tenant("Acme")
    ben = world.colleague(owner, "member")
    email = answer(ben.get("/api/users/me"))["email"]
    backup = back_up(world, owner, tmp_path)
    assert owner.patch(f"/api/users/{ben.user_id}", {"role": "admin"}).status_code == 200
    ben = world.login(email)
    withdrawals, tokens = world.platform.authenticator._withdrawals, world.platform.tokens
    now, record_token_life, restored = tokens._now, withdrawals.record_token_life, []

    def stand_still() -> None:
        record_token_life()
        restored.append(in_thread(lambda: restore(world, backup)))
        monkeypatch.setattr(tokens, "_now", lambda: now() + 30)

    with monkeypatch.context() as patched:
        patched.setattr(withdrawals, "record_token_life", stand_still)
        response = come_by(world, ben, email)
    assert restored
    if response.status_code == 200:
        token = answer(response)["accessToken"]
        refusal(world.client.get("/api/users/me", headers={"jwt": token}), 401, "token_revoked")
        body = {"email": "eve@example.com", "role": "admin"}
        response = world.client.post("/api/users", json=body, headers={"jwt": token})
    refusal(response, 401, "token_revoked")
    world.platform.restoration.confirm(restored[0].tenant_id, Actor.on_command_line())
