"""The resolver hook: deny by default, the right tenant or none."""

import base64
import json
import re
import time
from typing import Any

import jwt
import pytest
from bson import ObjectId

from multitenant.clock import CLOCK
from multitenant.middleware.access import Access, access_of, public
from tests.conftest import MakeWorld
from tests.support import JWT_KEY, PAGES, PASSWORD, World, answer, refusal

PUBLIC = {
    ("POST", "/api/login"),
    ("POST", "/api/invitations/accept"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    *PAGES,
}
OPERATOR = {
    ("POST", "/api/add"),
    ("POST", "/api/tenants"),
    ("GET", "/api/tenants"),
    ("GET", "/api/tenants/<id>"),
    ("PATCH", "/api/tenants/<id>"),
    ("DELETE", "/api/tenants/<id>"),
    ("POST", "/api/tenants/<id>/restore"),
    ("POST", "/api/tenants/<id>/suspend"),
    ("POST", "/api/tenants/<id>/activate"),
    ("POST", "/api/tenants/<id>/purge"),
    ("POST", "/api/tenants/<id>/rotate-credentials"),
    ("POST", "/api/tenants/<id>/impersonate"),
    ("GET", "/api/connections"),
    ("GET", "/api/audit"),
    ("GET", "/api/usage"),
    ("GET", "/api/tenants/<id>/usage"),
}
REFRESH = {("POST", "/api/refresh")}


def routes(world: World) -> set[tuple[str, str]]:
    return {
        (method, rule.rule)
        for rule in world.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
    }


def test_exactly_these_routes_are_public_or_for_operators(world: World) -> None:
    marked: dict[Access, set[tuple[str, str]]] = {access: set() for access in Access}
    for rule in world.app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            marked[access_of(world.app.view_functions[rule.endpoint])].add((method, rule.rule))
    assert marked[Access.PUBLIC] == PUBLIC
    assert marked[Access.OPERATOR] == OPERATOR
    assert marked[Access.REFRESH] == REFRESH


def test_every_other_route_demands_a_token_whatever_its_url(world: World) -> None:
    for method, rule in routes(world) - PUBLIC:
        path = re.sub(r"<\w+>", str(ObjectId()), rule)
        refusal(world.client.open(path, method=method, json={}), 401, "token_missing")


def test_a_new_view_without_a_mark_is_closed(world: World) -> None:
    """URL text never decides: not even a path that looks like the login."""
    world.app._got_first_request = False
    world.app.add_url_rule("/api/login/extra", view_func=lambda: "open!")
    world.app.add_url_rule("/login", endpoint="marked", view_func=public(lambda: "open"))
    refusal(world.client.get("/api/login/extra"), 401, "token_missing")
    assert world.client.get("/login").text == "open"


def test_only_operators_reach_the_operators_routes(world: World) -> None:
    owner = world.tenant("Acme")
    for method, rule in OPERATOR:
        path = rule.replace("<id>", owner.tenant_id)
        refusal(owner.send(method, path, {}), 403, "role_required")


def test_both_header_forms_of_the_token_work(world: World) -> None:
    token = world.tenant("Acme").access
    for headers in ({"Authorization": f"Bearer {token}"}, {"jwt": token}):
        assert world.client.get("/api/users/me", headers=headers).status_code == 200


@pytest.mark.parametrize("header", ["Bearer", "Bearer ", "Basic eDp5", "token", "Bearer a b"])
def test_an_authorization_header_of_another_form_is_refused(world: World, header: str) -> None:
    response = world.client.get("/api/users/me", headers={"Authorization": header})
    refusal(response, 401, "token_invalid")
    assert response.headers["WWW-Authenticate"] == "Bearer"


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return jwt.get_unverified_header(token), jwt.decode(token, options={"verify_signature": False})


def _b64(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def test_forged_and_malformed_tokens_are_refused(world: World) -> None:
    owner, other = world.tenant("Acme"), world.tenant("Globex")
    header, claims = _parts(owner.access)
    kid = {"kid": header["kid"]}

    def signed(changes: dict[str, Any], secret: str = JWT_KEY, algorithm: str = "HS256") -> str:
        return jwt.encode({**claims, **changes}, secret, algorithm, headers=kid)

    def without(claim: str) -> str:
        rest = {name: value for name, value in claims.items() if name != claim}
        return jwt.encode(rest, JWT_KEY, headers=kid)

    head, body, signature = owner.access.split(".")
    flipped = ("A" if signature[5] != "A" else "B").join([signature[:5], signature[6:]])
    bad = {
        "a changed signature": f"{head}.{body}.{flipped}",
        "another's claims": f"{head}.{other.access.split('.')[1]}.{signature}",
        "no signature": f"{head}.{body}.",
        "alg none": f"{_b64({'alg': 'none', 'typ': 'JWT', **kid})}.{body}.",
        "another algorithm": signed({}, algorithm="HS512"),
        "a foreign key": signed({}, secret="another-key-another-key-another-key"),
        "an unknown key id": jwt.encode(claims, JWT_KEY, headers={"kid": "0" * 16}),
        "no key id": jwt.encode(claims, JWT_KEY),
        "a refresh token": owner.refresh,
        "a subject that is no id": signed({"sub": "x"}),
        "a tenant that is no id": signed({"tenantId": {"$ne": None}}),
        "an unknown role": signed({"role": "root"}),
        "operator of a tenant that is none": signed({"role": "operator"}),
        "no family": without("fam"),
        "no expiry": without("exp"),
        "a version that is no number": signed({"ver": None}),
        "not yet valid": signed({"nbf": int(time.time()) + 600}),
        "not a token": "x",
        "two dots": "..",
        "unicode": "é.é.é",
        "too long": "a" * 5000,
    }
    for what, token in bad.items():
        response = world.client.get(
            "/api/users/me", headers={"Authorization": f"Bearer {token}".encode().decode("latin-1")}
        )
        assert response.status_code == 401, f"{what}: {response.text}"
        refusal(response, 401, "token_invalid")
    assert owner.get("/api/users/me").status_code == 200


def test_a_token_expires_also_when_its_claims_are_cached(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = world.tenant("Acme")
    assert owner.get("/api/users/me").status_code == 200
    later = CLOCK.now() + 901
    monkeypatch.setattr(CLOCK, "now", lambda: later)
    refusal(owner.get("/api/users/me"), 401, "token_expired")


def test_an_expired_token_is_refused_on_its_first_use(world: World) -> None:
    owner = world.tenant("Acme")
    header, claims = _parts(owner.access)
    claims |= {"iat": 1_000_000_000, "nbf": 1_000_000_000, "exp": 1_000_000_900}
    expired = jwt.encode(claims, JWT_KEY, headers={"kid": header["kid"]})
    refusal(world.client.get("/api/users/me", headers={"jwt": expired}), 401, "token_expired")


def test_a_signature_is_verified_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = world.tenant("Acme")
    calls = []
    decode = jwt.decode

    def count(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return decode(*args, **kwargs)

    monkeypatch.setattr("flask_jwt_extended.tokens.jwt.decode", count)
    for _ in range(3):
        assert owner.get("/api/users/me").status_code == 200
    signatures = [call for call in calls if len(call) > 1]  # the other decodes read the key id
    assert len(signatures) == 1


def test_keys_rotate_by_their_id(make_world: MakeWorld) -> None:
    old, new = "an-old-key-an-old-key-an-old-key-01", "a-new-key-a-new-key-a-new-key-0123"
    before = make_world(jwt_secret_keys=old)
    owner = before.tenant("Acme")
    rotated = make_world(jwt_secret_keys=f"{new},{old}")
    fresh = rotated.login("owner@acme.example")
    later = make_world(jwt_secret_keys=new)

    def status(world: World, token: str) -> int:
        return world.client.get("/api/users/me", headers={"jwt": token}).status_code

    assert status(rotated, owner.access) == 200
    assert status(later, fresh.access) == 200
    assert status(later, owner.access) == 401


@pytest.mark.parametrize(
    ("header", "value", "agrees"),
    [
        ("Host", "acme.localhost", True),
        ("Host", "ACME.localhost:5000", True),
        ("Host", "localhost:5000", True),
        ("Host", "127.0.0.1:5000", True),
        ("Host", "[::1]:5000", True),
        ("Host", "api.localhost", True),
        ("Host", "unknown.example", True),
        ("Host", "app.acme.example", True),
        ("Host", "globex.localhost", False),
        ("Host", "nobody.localhost", False),
        ("Host", "x.acme.localhost", False),
        ("Host", "app.globex.example", False),
        ("X-Tenant-Id", "own", True),
        ("X-Tenant-Id", "other", False),
        ("X-Tenant-Id", "acme", False),
        ("X-Tenant-Id", "", False),
    ],
)
def test_whatever_names_a_tenant_must_agree_with_the_token(
    world: World, header: str, value: str, agrees: bool
) -> None:
    acme = world.tenant("Acme", subdomain="acme")
    globex = world.tenant("Globex", subdomain="globex")
    for owner, domain in ((acme, "app.acme.example"), (globex, "app.globex.example")):
        response = world.operator.patch(f"/api/tenants/{owner.tenant_id}", {"domains": [domain]})
        assert response.status_code == 200
    value = {"own": acme.tenant_id, "other": globex.tenant_id}.get(value, value)

    response = acme.get("/api/users/me", headers={header: value})

    if agrees:
        assert response.status_code == 200, response.text
    else:
        refusal(response, 403, "tenant_mismatch")


@pytest.mark.parametrize(
    ("status", "answered", "code"),
    [
        ("suspended", 403, "tenant_suspended"),
        ("maintenance", 503, "tenant_maintenance"),
        ("deleted", 401, "token_revoked"),
    ],
)
def test_a_tenant_that_may_not_work_is_refused(
    world: World, status: str, answered: int, code: str
) -> None:
    owner = world.tenant("Acme")
    world.set_status(owner.tenant_id, status)

    response = owner.get("/api/users/me")
    refusal(response, answered, code)
    assert ("Retry-After" in response.headers) == (answered == 503)
    refresh = world.client.post("/api/refresh", headers={"jwt": owner.refresh})
    refusal(refresh, answered, code)

    world.set_status(owner.tenant_id, "active")
    assert owner.get("/api/users/me").status_code == 200


def test_another_processs_suspension_is_seen_when_the_entry_is_stale(
    make_world: MakeWorld,
) -> None:
    world = make_world(tenant_stale_seconds=0.2)
    owner = world.tenant("Acme")
    assert owner.get("/api/users/me").status_code == 200
    world.admin_db["tenants"].update_one(
        {"_id": ObjectId(owner.tenant_id)}, {"$set": {"status": "suspended"}}
    )
    time.sleep(0.25)
    refusal(owner.get("/api/users/me"), 403, "tenant_suspended")


def test_a_token_of_a_tenant_that_is_gone_is_refused(world: World, mongo: Any) -> None:
    owner = world.tenant("Acme")
    name = world.record(owner.tenant_id)["dbName"]
    world.admin_db["tenants"].delete_one({"_id": ObjectId(owner.tenant_id)})
    world.platform.connections.forget(ObjectId(owner.tenant_id))
    refusal(owner.get("/api/users/me"), 401, "token_revoked")
    mongo.drop_database(name)


def test_a_request_id_is_kept_when_it_is_sane_and_made_when_not(world: World) -> None:
    for sent, kept in (("abc-123", True), ("a b", False), ("x" * 129, False), ("ü", False)):
        response = world.client.get(
            "/healthz", headers={"X-Request-ID": sent.encode().decode("latin-1")}
        )
        assert (response.headers["X-Request-ID"] == sent) is kept


def test_no_command_of_a_tenants_request_reaches_a_foreign_database(world: World) -> None:
    """The listener has seen commands, and each was in the tenant's or the admin database."""
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    world.recorder.commands.clear()
    checked = world.isolation.commands

    for owner in (acme, globex):
        item = answer(owner.post("/api/to-do-list", {"title": "x"}))
        owner.get("/api/to-do-list")
        owner.patch(f"/api/to-do-list/{item['id']}", {"done": True})
        owner.get("/api/users/me")
        owner.put(
            "/api/users/me/password", {"currentPassword": PASSWORD, "newPassword": "a new one!"}
        )
        owner.delete(f"/api/to-do-list/{item['id']}")

    assert world.isolation.commands > checked + 10
    assert not world.isolation.violations
    own = {world.record(owner.tenant_id)["dbName"] for owner in (acme, globex)}
    touched = {database for database, _, _ in world.recorder.commands} - {"admin"}
    assert touched == own | {world.admin_db.name}


def test_the_listener_notices_a_view_that_leaves_its_tenant(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    foreign = world.db_of(globex.tenant_id)

    def buggy(*_: Any) -> list[dict[str, Any]]:
        return list(foreign["todos"].find())

    monkeypatch.setattr("multitenant.controllers.tenant.todos.service.list_todos", buggy)
    acme.get("/api/to-do-list")

    assert len(world.isolation.violations) == 1
    assert world.isolation.violations[0].startswith(f"find on {foreign.name}")
    world.isolation.violations.clear()
