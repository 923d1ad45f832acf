"""Invariant 2, on every route there is: another tenant's ids are like ids that do not exist.

The routes come from the application, so a new one is tried without being named here. What it
takes to reach it is found in the tables of `test_bad_input.py`; where that is not enough, the
test says what is missing.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bson import ObjectId

from multitenant.middleware.access import Access, access_of
from tests.integration.test_bad_input import VALID_BODIES, WITHOUT_BODY, contents
from tests.support import User, World, answer

PARAMETER = re.compile(r"<(\w+)>")
# The fields that must not have the same value twice in a tenant.
UNIQUE = {"email"}
# How to make what a path's last part names, where the `POST` before that part does not make it.
MAKERS: dict[str, Callable[[User, str], None]] = {
    "/api/settings/<key>": lambda user, key: _ensure_made(
        user.put(f"/api/settings/{key}", {"value": "secret"})
    ),
}


def tenant_routes(world: World) -> list[tuple[str, str]]:
    """Every route for tenants whose path names something, reading ones first."""
    return sorted(
        (method, rule.rule)
        for rule in world.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
        if access_of(world.app.view_functions[rule.endpoint]) is Access.TENANT
        and PARAMETER.search(rule.rule)
    )


def make(user: User, rule: str) -> list[str]:
    """Make, as this user, all that a path of the rule names; return its ids in the order of the
    path."""
    ids: list[str] = []
    for parameter in PARAMETER.finditer(rule):
        up_to_here, before = rule[: parameter.end()], rule[: parameter.start()].rstrip("/")
        if up_to_here in MAKERS:
            ids.append(str(ObjectId()))
            MAKERS[up_to_here](user, ids[-1])
            continue
        body = VALID_BODIES.get(("POST", before))
        if body is None:
            pytest.fail(
                f"Nothing is known to make what {up_to_here} names: give VALID_BODIES (in"
                f" test_bad_input.py) a body for POST {before}, or MAKERS (here) a function"
            )
        ids.append(_ensure_made(user.post(filled(before, ids), unique(body)))["id"])
    return ids


def _ensure_made(response: Any) -> Any:
    assert response.status_code < 300, response.text
    return answer(response)


def unique(body: dict[str, Any]) -> dict[str, Any]:
    """The body, with something else each time where two must not have the same."""
    return {key: f"{ObjectId()}{body[key]}" if key in UNIQUE else body[key] for key in body}


def filled(rule: str, ids: list[str]) -> str:
    """The rule's path with these ids."""
    rest = iter(ids)
    return PARAMETER.sub(lambda _: next(rest), rule)


def mixtures(own: list[str], foreign: list[str]) -> Iterator[list[str]]:
    """All ids foreign; and where there are several, one of them foreign and the others one's
    own."""
    yield foreign
    for place in range(len(own)) if len(own) > 1 else ():
        yield [foreign[n] if n == place else own[n] for n in range(len(own))]


def sent(user: User, method: str, rule: str, ids: list[str]) -> tuple[int, str]:
    """What the user is answered, without what differs from request to request."""
    body = VALID_BODIES.get((method, rule))
    if body is None and (method, rule) not in WITHOUT_BODY:
        pytest.fail(
            f"Nothing is known of the body of {method} {rule}: it belongs in VALID_BODIES, or, if"
            " it has none, in WITHOUT_BODY (in test_bad_input.py)"
        )
    response = user.send(method, filled(rule, ids), body)
    text = re.sub(r'"requestId":"[0-9a-f]{32}"', "", response.text)
    text = re.sub(r"[0-9a-f]{24}", "<id>", text)
    return response.status_code, re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", text)


def test_on_every_route_another_tenants_ids_are_like_ids_that_do_not_exist(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    routes = tenant_routes(world)
    assert len(routes) > 15

    for method, rule in routes:
        what = f"{method} {rule}"
        theirs, own = make(acme, rule), make(globex, rule)
        before = of_tenant(world, acme)
        for foreign in mixtures(own, theirs):
            unknown = [str(ObjectId()) if id_ in theirs else id_ for id_ in foreign]
            expected = sent(globex, method, rule, unknown)
            assert sent(globex, method, rule, foreign) == expected, what
        assert of_tenant(world, acme) == before, f"{what} changed another tenant's data"
        reached = sent(acme, method, rule, theirs)[0]
        assert reached not in (403, 404), f"{what} was never reached: {reached}"


def test_no_list_shows_what_another_tenant_has(world: World) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    made = {id_ for _, rule in tenant_routes(world) for id_ in make(acme, rule)}
    for rule in world.app.url_map.iter_rules():
        view = world.app.view_functions[rule.endpoint]
        if "GET" in (rule.methods or ()) and access_of(view) is Access.TENANT:
            if PARAMETER.search(rule.rule):
                continue
            response = globex.get(rule.rule)
            assert response.status_code == 200, response.text
            shown = set(re.findall(r"[0-9a-f]{24}", response.text))
            assert not shown & (made | {acme.tenant_id, acme.user_id}), rule.rule


def of_tenant(world: World, user: User) -> dict[str, Any]:
    """Everything that is in the tenant's database, and the admin database's note of the tenant."""
    name = world.record(user.tenant_id)["dbName"]
    return {
        **{where: found for where, found in contents(world).items() if where.startswith(name)},
        "tenantusers": list(
            world.admin_db["tenantusers"].find({"tenantId": ObjectId(user.tenant_id)})
        ),
        "tenant": world.record(user.tenant_id),
    }


def test_a_route_of_which_nothing_is_known_fails_with_what_to_add(world: World) -> None:
    owner = world.tenant("Acme")
    with pytest.raises(pytest.fail.Exception, match=r"a body for POST /api/new, or MAKERS"):
        make(owner, "/api/new/<id>")
    with pytest.raises(pytest.fail.Exception, match=r"the body of PATCH /api/new/<id>: it belongs"):
        sent(owner, "PATCH", "/api/new/<id>", [str(ObjectId())])
