"""Requests to /api/users, and what follows them."""

from typing import Any

import pytest

from tests.support import PASSWORD, User, World, answer

USERS = "/api/users"
FIELDS = {"id", "email", "role", "status", "createdAt", "updatedAt"}
# Whatever ends what a user may do, as a request about them.
ENDINGS: dict[str, tuple[str, Any]] = {
    "demoting": ("PATCH", {"role": "member"}),
    "disabling": ("PATCH", {"status": "disabled"}),
    "removing": ("DELETE", None),
}
ended_by = pytest.mark.parametrize(("method", "body"), ENDINGS.values(), ids=list(ENDINGS))


def add(world: World, by: User, name: str, **fields: Any) -> User:
    """Add a user with a password, and log them in."""
    email = f"{name}@acme.example"
    response = by.post(USERS, {"email": email, "password": PASSWORD, **fields})
    assert response.status_code == 201, response.text
    return world.login(email, tenant=by.tenant_id)


def invite(by: User, name: str, **fields: Any) -> dict[str, Any]:
    response = by.post(USERS, {"email": f"{name}@acme.example", **fields})
    assert response.status_code == 201, response.text
    invited: dict[str, Any] = answer(response)
    return invited


def accept(world: World, token: str) -> Any:
    return world.client.post("/api/invitations/accept", json={"token": token, "password": PASSWORD})


def login(world: World, email: str, **fields: Any) -> Any:
    return world.client.post("/api/login", json={"email": email, "password": PASSWORD, **fields})


def path_of(user: User) -> str:
    return f"{USERS}/{user.user_id}"


def emails(by: User) -> list[str]:
    return [user["email"].partition("@")[0] for user in answer(by.get(USERS))["items"]]


def active_owners(world: World, tenant: User) -> int:
    query = {"role": "owner", "status": "active"}
    return world.db_of(tenant.tenant_id)["users"].count_documents(query)
