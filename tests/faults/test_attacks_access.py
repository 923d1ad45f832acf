"""Who reaches what: every route of the document, with every kind of token there is.

That ids of another tenant are like ids of nothing is in
`tests/integration/test_cross_tenant.py`; here it is the doors.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.attacks import BodyPath, Route, Sender, every_route
from tests.integration.test_impersonation import acting_as
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD, User, World, answer

MANAGERS = ("owner", "admin")
# What not everybody in a tenant may do; a new route is for all of them until it stands here.
FOR_MANAGERS = {
    "POST /api/users",
    "PATCH /api/users/{id}",
    "DELETE /api/users/{id}",
    "POST /api/users/{id}/invitation",
    "PUT /api/settings/{key}",
    "DELETE /api/settings/{key}",
}
PUBLIC = {"POST /api/login", "POST /api/invitations/accept", "GET /healthz", "GET /readyz"}
ID = "^[0-9a-fA-F]{24}$"
REACHED = None


@pytest.fixture(scope="module")
def tokens(shared: World, acme: User) -> dict[str, str | None]:
    """A token of every kind that the platform gives out."""
    acting = shared.colleague(acme, "member")
    invited = answer(acme.post("/api/users", {"email": "invited@acme.example"}))
    suspended, deleted = shared.tenant("Suspended"), shared.tenant("Deleted")
    shared.operator.post(f"/api/tenants/{suspended.tenant_id}/suspend")
    shared.operator.delete(f"/api/tenants/{deleted.tenant_id}")
    left = shared.login("owner@acme.example")
    left.post("/api/logout")
    return {
        "nobody": None,
        "member": shared.colleague(acme, "member").access,
        "admin": shared.colleague(acme, "admin").access,
        "owner": shared.login("owner@acme.example").access,
        "operator": shared.login(OPERATOR_EMAIL, OPERATOR_PASSWORD).access,
        "operator as member": acting_as(shared, acting).access,
        "refresh": shared.login("owner@acme.example").refresh,
        "invitation": invited["invitationToken"],
        "of a suspended tenant": suspended.access,
        "of a deleted tenant": deleted.access,
        "of a session that ended": left.access,
    }


def expected(route: Route, kind: str) -> str | None:
    """The code with which this kind of token is refused; None where it gets through the door."""
    if str(route) in PUBLIC:
        return REACHED
    if kind == "nobody":
        return "token_missing"
    if kind == "invitation" or (kind == "refresh") != (str(route) == "POST /api/refresh"):
        return "token_invalid"
    if kind == "of a suspended tenant":
        return "tenant_suspended"
    if kind.startswith("of a "):
        return "token_revoked"
    if route.for_operators and kind != "operator":
        return "role_required"
    if str(route) in FOR_MANAGERS and kind not in (*MANAGERS, "operator"):
        return "role_required"
    return REACHED


def refused_with(response: Any) -> str | None:
    """The code, if the request did not get through the door."""
    code = answer(response).get("code") if response.status_code >= 400 else None
    return code if response.status_code in (401, 403) and code != "credentials_invalid" else None


def empty(route: Route) -> dict[str, Any] | None:
    """A body that a route refuses once it reads it."""
    return None if route.schema is None else {}


def test_every_kind_of_token_opens_exactly_its_doors(
    shared: World, tokens: dict[str, str | None]
) -> None:
    """With an empty body and ids of nothing: what gets through is refused behind the door."""
    for kind, token in tokens.items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        send = Sender(shared, None)
        for route in every_route():
            response = send(route, route.unknown(), json=empty(route), headers=headers)
            assert refused_with(response) == expected(route, kind), f"{kind}: {route}"


def names_of(tenant: User, subdomain: str) -> Iterator[dict[str, str]]:
    yield {"X-Tenant-Id": tenant.tenant_id}
    yield {"Host": f"{subdomain}.localhost"}


def test_under_another_tenants_name_no_door_opens(shared: World, acme: User, globex: User) -> None:
    """Whatever role one has at home, operators included."""
    for user in (globex, shared.operator):
        refreshing = User(user.client, user.tenant_id, user.user_id, user.refresh, "")
        for route in every_route():
            if route.public:
                continue
            send = Sender(shared, refreshing if route.path == "/api/refresh" else user)
            for headers in names_of(acme, "acme"):
                response = send(route, route.unknown(), json=empty(route), headers=headers)
                assert refused_with(response) == "tenant_mismatch", f"{route} {headers}"


def test_ids_are_taken_from_paths_and_where_somebody_has_looked() -> None:
    """A new field or filter that takes an id needs a test with another tenant's; put it here then.
    (`userId`: test_nobody_acts_as_an_operator_or_as_somebody_who_is_not_there)"""
    found: set[tuple[str, str | BodyPath]] = set()
    for route in every_route():
        for parameter in route.operation.get("parameters", []):
            schemas = parameter["schema"].get("anyOf", [parameter["schema"]])
            if parameter["in"] != "path" and any(schema.get("pattern") == ID for schema in schemas):
                found.add((str(route), parameter["name"]))
        found |= {(str(route), place) for place in route.strings(pattern=ID)}
    assert found == {
        ("GET /api/audit", "tenantId"),
        ("GET /api/audit", "actor"),
        ("POST /api/tenants/{id}/impersonate", ("userId",)),
    }
