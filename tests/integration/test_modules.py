"""A tenant's modules: what it has not bought it is refused, wherever that is served."""

import re
import time
from typing import Any

import pytest
from bson import ObjectId

from multitenant.middleware.access import Access, access_of, module_of
from multitenant.schemas.admin.tenants import MODULES
from tests.conftest import MakeWorld
from tests.integration.test_bad_input import VALID_BODIES
from tests.integration.test_watcher import LONG, elsewhere
from tests.support import World, answer, eventually, refusal

OF_ALL_TENANTS = {"auth", "users", "settings"}
"""Blueprints that belong to no module. A new one belongs here, or into a module."""
FIRST = {"todos": "/api/to-do-list", "employees": "/api/employees"}
FIRST |= {"posts": "/api/posts", "orders": "/api/orders"}


def routes_of_modules(world: World) -> dict[str, list[tuple[str, str]]]:
    routes: dict[str, list[tuple[str, str]]] = {}
    for rule in world.app.url_map.iter_rules():
        module = module_of(world.app.blueprints.get(rule.endpoint.rpartition(".")[0]))
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"} if module else ():
            routes.setdefault(str(module), []).append((method, rule.rule))
    return routes


def test_every_blueprint_of_tenants_is_in_a_module_or_known_to_be_in_none(world: World) -> None:
    in_none = {
        rule.endpoint.rpartition(".")[0]
        for rule in world.app.url_map.iter_rules()
        if access_of(world.app.view_functions[rule.endpoint]) is Access.TENANT
        and module_of(world.app.blueprints.get(rule.endpoint.rpartition(".")[0])) is None
    }
    assert in_none == OF_ALL_TENANTS
    assert set(routes_of_modules(world)) == set(MODULES) == set(FIRST)


def test_a_tenant_without_a_module_is_refused_on_every_route_of_it(world: World) -> None:
    owner = world.tenant("Acme", modules=[])
    for module, routes in routes_of_modules(world).items():
        for method, rule in routes:
            path = re.sub(r"<\w+>", str(ObjectId()), rule)
            response = owner.send(method, path, VALID_BODIES.get((method, rule)))
            refusal(response, 403, "module_disabled")
            assert module in response.get_json()["message"]
    for path in ("/api/users/me", "/api/settings"):
        assert owner.get(path).status_code == 200


@pytest.mark.parametrize("module", MODULES)
def test_a_tenant_has_the_modules_that_its_record_names(world: World, module: str) -> None:
    owner = world.tenant("Acme", modules=[module])
    for name, path in FIRST.items():
        assert owner.get(path).status_code == (200 if name == module else 403)


def test_a_tenant_without_the_field_has_all(world: World) -> None:
    owner = world.tenant("Acme")
    assert "modules" not in world.record(owner.tenant_id)
    assert [owner.get(path).status_code for path in FIRST.values()] == [200] * len(FIRST)


def test_a_change_of_modules_counts_at_once_here_and_soon_elsewhere(
    make_world: MakeWorld, mongo: Any
) -> None:
    world = make_world(tenant_stale_seconds=LONG)
    eventually(lambda: world.platform.watcher.vouches_for(time.monotonic()))
    owner = world.tenant("Acme", modules=["posts"])
    path = f"/api/tenants/{owner.tenant_id}"

    def posts() -> int:
        return owner.get("/api/posts").status_code

    assert posts() == 200
    assert answer(world.operator.patch(path, {"modules": ["todos"]}))["modules"] == ["todos"]
    assert posts() == 403
    assert answer(world.operator.patch(path, {"modules": None}))["modules"] is None
    assert posts() == 200

    elsewhere(world, mongo, owner, {"$set": {"modules": []}})
    eventually(lambda: posts() == 403)
    elsewhere(world, mongo, owner, {"$unset": {"modules": ""}})
    eventually(lambda: posts() == 200)


def test_a_token_and_an_active_tenant_are_asked_for_first(world: World) -> None:
    owner = world.tenant("Acme", modules=[])
    refusal(world.client.get("/api/posts"), 401, "token_missing")
    world.set_status(owner.tenant_id, "suspended")
    refusal(owner.get("/api/posts"), 403, "tenant_suspended")
