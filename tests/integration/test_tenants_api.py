"""/api/tenants, for operators. Adding one is in test_provisioning.py."""

from collections.abc import Callable
from typing import Any

import pytest
from bson import ObjectId

from multitenant.errors import AlreadyExists
from multitenant.repositories.admin.tenant_users import insert_tenant_user
from tests.conftest import MakeWorld
from tests.support import PASSWORD, World, answer, refusal

FIELDS = {
    *("id", "name", "subdomain", "domains", "dbName", "cluster", "isolation", "status"),
    *("modules", "userLimit", "system", "schemaVersion", "createdAt", "updatedAt"),
    *("suspendedAt", "deletedAt"),
}


def test_post_tenants_is_post_add(world: World) -> None:
    body = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD}
    response = world.operator.post("/api/tenants", body)
    assert response.status_code == 201
    assert response.get_json()["message"] == "Tenant added successfully"
    assert set(answer(response)) == {"tenantId", "userId"}


def test_a_tenant_is_shown_without_uris_and_credentials(world: World) -> None:
    owner = world.tenant("Acme", subdomain="acme")
    tenant = answer(world.operator.get(f"/api/tenants/{owner.tenant_id}"))
    assert set(tenant) == FIELDS
    assert (tenant["name"], tenant["subdomain"], tenant["status"]) == ("Acme", "acme", "active")
    assert tenant["createdAt"].endswith("Z")


def test_the_list_pages_and_filters(world: World) -> None:
    ids = [world.tenant(name).tenant_id for name in ("Acme", "Globex", "Initech")]
    world.set_status(ids[1], "suspended")

    def listed(query: str) -> list[str]:
        page = answer(world.operator.get(f"/api/tenants?{query}"))
        return [tenant["name"] for tenant in page["items"]]

    assert listed("") == ["operators", "Acme", "Globex", "Initech"]
    assert listed("status=suspended") == ["Globex"]
    assert listed("q=LOBE") == ["Globex"]
    assert listed("q=.*") == []
    assert listed("q=e&limit=2") == ["operators", "Acme"]
    first = answer(world.operator.get("/api/tenants?limit=3"))
    rest = answer(world.operator.get(f"/api/tenants?limit=3&cursor={first['nextCursor']}"))
    assert [tenant["id"] for tenant in first["items"] + rest["items"]][1:] == ids
    assert rest["nextCursor"] is None


def test_a_tenant_is_changed_and_the_change_counts_at_once(world: World) -> None:
    owner = world.tenant("Acme", subdomain="acme", userLimit=3)
    path = f"/api/tenants/{owner.tenant_id}"
    assert owner.get("/api/users/me", headers={"Host": "acme.localhost"}).status_code == 200

    changed = answer(
        world.operator.patch(path, {"name": "Acme Inc", "subdomain": "inc", "userLimit": None})
    )

    assert (changed["name"], changed["subdomain"], changed["userLimit"]) == (
        "Acme Inc",
        "inc",
        None,
    )
    assert answer(world.operator.get(path)) == changed
    refusal(owner.get("/api/users/me", headers={"Host": "acme.localhost"}), 403, "tenant_mismatch")
    assert owner.get("/api/users/me", headers={"Host": "inc.localhost"}).status_code == 200


def test_domains_are_set_and_removed_and_two_tenants_may_have_none(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    for owner in (acme, globex):
        path = f"/api/tenants/{owner.tenant_id}"
        domain = f"{owner.tenant_id}.example"
        assert answer(world.operator.patch(path, {"domains": [domain]}))["domains"] == [domain]
    for owner, none in ((acme, []), (globex, None)):
        path = f"/api/tenants/{owner.tenant_id}"
        assert answer(world.operator.patch(path, {"domains": none}))["domains"] == []


@pytest.mark.parametrize(
    ("domain", "taken"),
    [
        ("saas.example", False),
        ("acme.saas.example", False),
        ("A.B.SaaS.Example.", False),
        ("notsaas.example", True),
        ("saas.example.acme.example", True),
    ],
)
def test_the_platforms_own_names_are_nobodys_domains(
    make_world: MakeWorld, domain: str, taken: bool
) -> None:
    world = make_world(base_domain="saas.example")
    path = f"/api/tenants/{world.tenant('Acme').tenant_id}"
    response = world.operator.patch(path, {"domains": ["app.acme.example", domain]})
    if taken:
        assert answer(response)["domains"] == ["app.acme.example", domain]
    else:
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "domains.1"
        assert answer(world.operator.get(path))["domains"] == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "ACME"), ("subdomain", "acme"), ("domains", ["app.acme.example"])],
)
def test_what_another_tenant_has_is_refused_with_its_field(
    world: World, field: str, value: object
) -> None:
    acme, globex = world.tenant("Acme", subdomain="acme"), world.tenant("Globex")
    world.operator.patch(f"/api/tenants/{acme.tenant_id}", {"domains": ["app.acme.example"]})
    response = world.operator.patch(f"/api/tenants/{globex.tenant_id}", {field: value})
    assert refusal(response, 409, "already_exists")["incorrectField"] == field
    if field == "domains":
        assert "app.acme.example" in response.get_json()["message"]


def test_the_operators_own_tenant_cannot_be_changed(world: World) -> None:
    path = f"/api/tenants/{world.operator.tenant_id}"
    refusal(world.operator.patch(path, {"name": "others"}), 409, "conflict")


def test_a_tenant_that_does_not_exist_is_not_found(world: World) -> None:
    path = f"/api/tenants/{ObjectId()}"
    refusal(world.operator.get(path), 404, "not_found")
    refusal(world.operator.patch(path, {"name": "x"}), 404, "not_found")


@pytest.mark.parametrize("name", ["www", "API", "-x", "x-", "a.b", "ü", "x" * 64])
def test_a_subdomain_that_can_be_none_is_refused(world: World, name: str) -> None:
    response = world.add(name="Acme", email="a@acme.example", subdomain=name)
    assert refusal(response, 422, "validation_failed")["incorrectField"] == "subdomain"


def test_an_email_belongs_to_a_tenant_once_also_when_eight_race(
    world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    tenant_id = ObjectId(world.tenant("Acme").tenant_id)

    def join() -> None:
        insert_tenant_user(
            world.admin_db, ObjectId(), email="ann@acme.example", tenant_id=tenant_id
        )

    results = run_together([join] * 8)

    refused = [result for result in results if result is not None]
    assert len(refused) == 7
    for error in refused:
        assert isinstance(error, AlreadyExists)
        assert error.incorrect_field == "email"
