"""Mass assignment: every body, with every field that any stored document has and the request does
not. The names come from the schemas, so a new field is tried without being named here."""

from collections.abc import Iterator
from typing import Any

from bson import ObjectId

from tests.faults.attacks import Sender, every_route, reach, stored_fields, user_for, with_value
from tests.support import PASSWORD, User, World, answer, refusal

# What other systems call such things, and what languages do with names.
COMMON = {
    *("isAdmin", "isOperator", "admin", "operator", "roles", "permissions", "scope", "hash"),
    *("passwordHash", "tenant_id", "owner", "ownerId", "userId", "tenantId", "id", "_id", "_cls"),
    *("__proto__", "constructor", "__class__", "act", "sub", "ver", "act.sub", "$set", "Role"),
}


def test_no_body_takes_a_field_that_is_not_its_own(shared: World, acme: User, globex: User) -> None:
    """Nor does an object within it."""
    names = stored_fields() | COMMON
    assert {"dbName", "credentials", "tokenVersion", "system", "schemaVersion"} <= names
    victim = shared.tenant("Victim")
    tried = 0
    for route in every_route():
        send = Sender(shared, user_for(route, shared, acme))
        path = reach(route, acme, victim.tenant_id) if route.schema else ""
        for place in route.objects():
            if place[:1] == ("value",):
                continue  # a setting is any JSON
            for foreign in batches(sorted(names - route.fields(place))):
                body: Any = route.body()
                for name in foreign:
                    body = with_value(body, (*place, name), PLAUSIBLE.get(name, "owner"))
                details = refusal(send(route, path, json=body), 422, "validation_failed")
                refused = {error["field"] for error in details["errors"]}
                assert refused == {".".join(map(str, (*place, name))) for name in foreign}, route
                tried += len(foreign)
    assert tried > 1000


def batches(names: list[str]) -> Iterator[list[str]]:
    """So many at a time that an answer names each; those apart that are refused as JSON already."""
    odd = [name for name in names if "$" in name or "." in name]
    yield odd
    even = [name for name in names if name not in odd]
    yield from (even[start : start + 15] for start in range(0, len(even), 15))


PLAUSIBLE: dict[str, Any] = {
    "system": True,
    "isAdmin": True,
    "isOperator": True,
    "status": "active",
    "role": "owner",
    "tokenVersion": 0,
    "createdAt": "2030-01-31T12:00:00Z",
    "_id": str(ObjectId()),
    "id": str(ObjectId()),
    "tenantId": str(ObjectId()),
}


def test_nobody_raises_themselves(shared: World, acme: User) -> None:
    """By no route that takes a role or a status, and by none that does not."""
    member, admin = shared.colleague(acme, "member"), shared.colleague(acme, "admin")
    new = {"email": "accomplice@acme.example", "password": PASSWORD, "role": "owner"}
    for user, status in ((member, 403), (admin, 409)):
        for change in ({"role": "owner"}, {"role": "owner", "status": "active"}):
            response = user.patch(f"/api/users/{user.user_id}", change)
            assert response.status_code in (403, status), response.text
        refusal(user.post("/api/users", new), 403, "role_required")
        headers = {"X-Role": "owner", "X-User-Role": "operator", "X-Original-URL": "/api/tenants"}
        refusal(user.get("/api/tenants?role=operator", headers=headers), 403, "role_required")
        assert answer(user.get("/api/users/me"))["role"] in ("member", "admin")


def test_what_was_made_has_the_platforms_values_and_not_the_callers(
    shared: World, acme: User
) -> None:
    """Fields that the platform sets are its own in every new document."""
    post = answer(acme.post("/api/posts", {"title": "x", "content": "y"}))
    assert post["authorId"] == acme.user_id
    assert post["deletedAt"] is None
    order = answer(
        acme.post("/api/orders", {"items": [{"name": "x", "quantity": 3, "price": "1.50"}]})
    )
    assert order["total"] == "4.50"
    tenant = answer(shared.operator.get(f"/api/tenants/{acme.tenant_id}"))
    assert tenant["system"] is False
