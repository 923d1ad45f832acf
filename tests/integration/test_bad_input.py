"""Bad input against every route: the matching 4xx, a message, no change, never a 5xx."""

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId

from tests.support import PAGES, PASSWORD, World, answer, refusal

ID = "{id}"
# Every route with a body, and a body it takes.
VALID_BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/api/login"): {
        "email": "owner@acme.example",
        "password": PASSWORD,
        "tenant": "Acme",
        "useCookies": False,
    },
    ("POST", "/api/invitations/accept"): {"token": "x.y.z", "password": PASSWORD},
    ("POST", "/api/add"): {
        "name": "New",
        "email": "owner@new.example",
        "password": PASSWORD,
        "subdomain": "new",
        "isolation": "shared",
        "modules": ["todos"],
        "userLimit": 3,
    },
    ("POST", "/api/tenants"): {"name": "New", "email": "owner@new.example"},
    ("PATCH", "/api/tenants/<id>"): {
        "name": "Other",
        "subdomain": "other",
        "domains": ["app.other.example"],
        "isolation": "shared",
        "modules": ["todos"],
        "userLimit": 3,
    },
    ("POST", "/api/tenants/<id>/purge"): {"confirm": "Acme"},
    ("POST", "/api/tenants/<id>/impersonate"): {
        "userId": "6b01495c11c99b6e947f21d9",
        "reason": "Ticket 4711",
    },
    ("PUT", "/api/users/me/password"): {"currentPassword": "wrong", "newPassword": PASSWORD},
    ("POST", "/api/users"): {
        "email": "ben@acme.example",
        "password": PASSWORD,
        "role": "member",
    },
    ("PATCH", "/api/users/<id>"): {"role": "admin", "status": "disabled"},
    ("POST", "/api/to-do-list"): {"title": "x", "done": False, "dueAt": "2030-01-31T12:00:00Z"},
    ("PATCH", "/api/to-do-list/<id>"): {"title": "y", "done": True, "dueAt": None},
    ("POST", "/api/employees"): {
        "name": "Wile E.",
        "email": "wile@acme.example",
        "position": "Tester",
        "phone": "+1 555 0100",
    },
    ("PATCH", "/api/employees/<id>"): {
        "name": "Wile",
        "email": "w@acme.example",
        "position": None,
        "phone": None,
    },
    ("POST", "/api/posts"): {"title": "x", "content": "y", "published": True},
    ("PATCH", "/api/posts/<id>"): {"title": "y", "content": "z", "published": False},
    ("POST", "/api/posts/<id>/comments"): {"content": "x"},
    ("POST", "/api/orders"): {"items": [{"name": "Anvil", "quantity": 2, "price": "1.50"}]},
    ("PUT", "/api/settings/<key>"): {"value": {"colour": "red"}},
}
WITHOUT_BODY = {
    ("POST", "/api/refresh"),
    ("POST", "/api/logout"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
    *PAGES,
    ("GET", "/api/tenants"),
    ("GET", "/api/tenants/<id>"),
    ("DELETE", "/api/tenants/<id>"),
    ("POST", "/api/tenants/<id>/restore"),
    ("POST", "/api/tenants/<id>/suspend"),
    ("POST", "/api/tenants/<id>/activate"),
    ("POST", "/api/tenants/<id>/rotate-credentials"),
    ("GET", "/api/connections"),
    ("GET", "/api/audit"),
    ("GET", "/api/usage"),
    ("GET", "/api/tenants/<id>/usage"),
    ("GET", "/api/users/me"),
    ("GET", "/api/users"),
    ("GET", "/api/users/<id>"),
    ("DELETE", "/api/users/<id>"),
    ("POST", "/api/users/<id>/invitation"),
    ("GET", "/api/to-do-list"),
    ("GET", "/api/to-do-list/<id>"),
    ("DELETE", "/api/to-do-list/<id>"),
    ("GET", "/api/employees"),
    ("GET", "/api/employees/<id>"),
    ("DELETE", "/api/employees/<id>"),
    ("GET", "/api/posts"),
    ("GET", "/api/posts/published"),
    ("GET", "/api/posts/<id>"),
    ("DELETE", "/api/posts/<id>"),
    ("POST", "/api/posts/<id>/restore"),
    ("GET", "/api/posts/<id>/comments"),
    ("GET", "/api/posts/<id>/comments/<commentId>"),
    ("DELETE", "/api/posts/<id>/comments/<commentId>"),
    ("GET", "/api/orders"),
    ("GET", "/api/orders/<id>"),
    ("GET", "/api/settings"),
    ("GET", "/api/settings/<key>"),
    ("DELETE", "/api/settings/<key>"),
}
# What no field of any body is, but for these.
FINE: list[tuple[str, Any]] = [("modules", []), ("domains", []), ("content", "x" * 5000)]
WRONG_VALUES: list[Any] = [
    {"$ne": None},
    {"$gt": ""},
    [],
    [{"$where": "1"}],
    {},
    1.5,
    -1,
    2**70,
    "\x00",
    "a\x00b",
    "",
    "   ",
    "x" * 5000,
    "\u202e\x07",
    [[[]]],
]
RAW_BODIES: list[tuple[bytes, int, str]] = [
    (b"", 400, "malformed_json"),
    (b"{", 400, "malformed_json"),
    (b"null", 422, "validation_failed"),
    (b"[]", 422, "validation_failed"),
    (b'"{}"', 422, "validation_failed"),
    (b"1", 422, "validation_failed"),
    (b'{"a": NaN}', 400, "malformed_json"),
    (b'{"a": Infinity}', 400, "malformed_json"),
    (b'{"a": 1e999}', 422, "validation_failed"),
    (b'{"a": ' + b"9" * 5000 + b"}", 400, "malformed_json"),
    (b"{'a': 1}", 400, "malformed_json"),
    (b'{"a": 1,}', 400, "malformed_json"),
    (b'{"a": 1} {}', 400, "malformed_json"),
    (b'{"a": 1, "a": 2}', 400, "malformed_json"),
    (b'{"b": {"a": 1, "a": 2}}', 400, "malformed_json"),
    (b'{"a": "\xff\xfe"}', 400, "malformed_json"),
    (b'\xef\xbb\xbf{"a": 1}', 400, "malformed_json"),
    ('{"a": 1}'.encode("utf-16"), 400, "malformed_json"),
    (b'{"a": "\\ud800"}', 400, "malformed_json"),
    (b'{"\\udfff": 1}', 400, "malformed_json"),
    (b'{"a": ' + b"[" * 33 + b"]" * 33 + b"}", 400, "malformed_json"),
    (b'{"a":' * 100_000, 400, "malformed_json"),
    (b'{"$where": "1"}', 422, "validation_failed"),
    (b'{"a.b": 1}', 422, "validation_failed"),
    (b'{"_id": "6b01495c11c99b6e947f21d9"}', 422, "validation_failed"),
    (b'{"__proto__": {}}', 422, "validation_failed"),
    (b'{"": 1}', 422, "validation_failed"),
]


@pytest.fixture(scope="module")
def shared_world(shared: World) -> World:
    """One world for all that must change nothing, with a tenant."""
    shared.tenant("Acme")
    return shared


@pytest.fixture
def patient_world(shared_world: World) -> Iterator[World]:
    """A world whose databases are compared: bad input must change nothing."""
    before = contents(shared_world)
    yield shared_world
    assert contents(shared_world) == before, "bad input changed something"


def contents(world: World) -> dict[str, Any]:
    """Everything that is in the world's databases, but for what is noted of logins, and what each
    process tells of itself now and then."""
    return {
        f"{name}.{collection}": list(
            world.admin_db.client[name][collection].find({"action": {"$not": {"$regex": "^auth"}}})
        )
        for name in sorted(world.databases())
        for collection in sorted(world.admin_db.client[name].list_collection_names())
        if not collection.startswith(("ratelimit", "processes", "heartbeats"))
    }


def unknown(rule: str) -> str:
    """A path of the rule that leads to nothing."""
    return re.sub(r"<\w+>", lambda _: str(ObjectId()), rule)


def send(world: World, method: str, rule: str, **kwargs: Any) -> Any:
    """Send a request with a token that the route takes."""
    if world.owner is None:
        world.owner = world.login("owner@acme.example")
    operators = rule.startswith(
        ("/api/add", "/api/tenants", "/api/audit", "/api/connections", "/api/usage")
    )
    user = world.operator if operators else world.owner
    path = kwargs.pop("path", unknown(rule))
    return user.send(method, path, **kwargs)


def test_the_tables_above_name_every_route(world: World) -> None:
    routes = {
        (method, rule.rule)
        for rule in world.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
    }
    assert routes == set(VALID_BODIES) | WITHOUT_BODY


def taken(world: World, method: str, path: str) -> bool:
    """Whether a route takes it, be it one that takes the path's last part for an id."""
    return world.app.url_map.bind("localhost").test(path, method)


@pytest.mark.parametrize(("method", "rule"), VALID_BODIES)
def test_a_body_that_is_no_json_object_is_refused(
    patient_world: World, method: str, rule: str
) -> None:
    for body, status, code in RAW_BODIES:
        response = send(
            patient_world, method, rule, data=body, headers={"Content-Type": "application/json"}
        )
        assert (response.status_code, answer(response)["code"]) == (status, code), body[:60]


@pytest.mark.parametrize(("method", "rule"), VALID_BODIES)
def test_a_wrong_value_in_any_field_is_refused_with_the_fields_name(
    patient_world: World, method: str, rule: str
) -> None:
    valid = VALID_BODIES[method, rule]
    for field in valid:
        for value in WRONG_VALUES:
            if (field, value) in FINE or field == "value":  # a setting's, which is any JSON
                continue
            response = send(patient_world, method, rule, json={**valid, field: value})
            if response.status_code in (400, 401, 404):  # what one may send, and what is not found
                continue
            details = refusal(response, 422, "validation_failed")
            assert details["incorrectField"].split(".")[0] == field, (value, response.text)
            assert all(error["message"] for error in details["errors"])


@pytest.mark.parametrize(("method", "rule"), VALID_BODIES)
def test_an_unknown_and_a_missing_field_are_refused(
    patient_world: World, method: str, rule: str
) -> None:
    valid = VALID_BODIES[method, rule]
    unknown = send(patient_world, method, rule, json={**valid, "isAdmin": True})
    assert refusal(unknown, 422, "validation_failed")["incorrectField"] == "isAdmin"
    empty = send(patient_world, method, rule, json={})
    refusal(empty, 422, "validation_failed")


@pytest.mark.parametrize(("method", "rule"), VALID_BODIES)
def test_another_media_type_is_refused(patient_world: World, method: str, rule: str) -> None:
    body = json.dumps(VALID_BODIES[method, rule])
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        response = send(
            patient_world, method, rule, data=body, headers={"Content-Type": content_type}
        )
        refusal(response, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/api/add", {"name": "x" * 101}, "must have at most 100 characters"),
        ("POST", "/api/login", {"password": ""}, "must have at least 1 characters"),
        ("POST", "/api/posts", {"colour": "red"}, "is not a field of this request"),
    ],
)
def test_a_message_is_for_people(
    patient_world: World, method: str, path: str, body: dict[str, str], message: str
) -> None:
    valid = VALID_BODIES[method, path]
    refused = send(patient_world, method, path, json={**valid, **body})
    details = refusal(refused, 422, "validation_failed")
    assert details["errors"] == [{"field": next(iter(body)), "message": message}]


def test_a_byte_order_mark_is_named(patient_world: World) -> None:
    headers = {"Content-Type": "application/json"}
    body = codecs.BOM_UTF8 + b'{"title": "x"}'
    response = send(patient_world, "POST", "/api/to-do-list", data=body, headers=headers)
    refusal(response, 400, "malformed_json")
    assert "byte order mark" in response.get_json()["message"]


def test_no_route_is_guessed_from_a_path_with_empty_parts(patient_world: World) -> None:
    """Nor a redirect made of the caller's Host."""
    response = patient_world.client.get("/api//users/me", headers={"Host": "evil.example"})
    refusal(response, 404, "not_found")


@pytest.mark.parametrize(("method", "rule"), VALID_BODIES)
def test_an_oversize_body_is_refused(patient_world: World, method: str, rule: str) -> None:
    body = json.dumps({"title": "x" * 2_000_000})
    response = send(
        patient_world, method, rule, data=body, headers={"Content-Type": "application/json"}
    )
    refusal(response, 413, "payload_too_large")


@pytest.mark.parametrize(
    ("method", "rule"), [route for route in {**VALID_BODIES} if "<id>" in route[1]]
)
def test_an_id_that_is_none_is_refused(patient_world: World, method: str, rule: str) -> None:
    for text in (
        "x",
        "1",
        "6b01495c11c99b6e947f21d",
        "6b01495c11c99b6e947f21dg",
        "%00",
        "$ne",
        "é",
    ):
        response = send(
            patient_world,
            method,
            rule,
            json=VALID_BODIES[method, rule],
            path=rule.replace("<id>", text),
        )
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "id"


@pytest.mark.parametrize(
    ("method", "rule"), sorted((WITHOUT_BODY | set(VALID_BODIES)) - {("POST", "/api/logout")})
)
def test_strange_queries_and_methods_never_give_a_5xx(
    patient_world: World, method: str, rule: str
) -> None:
    queries = [
        "?q=%00",
        "?limit[$ne]=1",
        "?cursor[]=x",
        "?limit=1&limit=x",
        "?%FF=%FE",
        "?q=" + "x" * 999,
    ]
    for query in queries:
        path = unknown(rule) + query
        response = send(patient_world, method, rule, path=path, data=b"{}")
        assert response.status_code < 500, response.text
    for other in ("TRACE", "PROPFIND", "DELETE", "PUT", "PATCH"):
        if not taken(patient_world, other, unknown(rule)):
            response = send(patient_world, other, rule)
            refusal(response, 405, "method_not_allowed")
            assert response.headers["Allow"]


@pytest.mark.parametrize("query", ["q=%00", "status=gone", "q=", "limit=0", "unknown=1"])
def test_a_filter_of_tenants_that_does_not_fit_is_refused(world: World, query: str) -> None:
    refusal(world.operator.get(f"/api/tenants?{query}"), 422, "validation_failed")


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("short", "at least 8 characters"),
        ("x" * 73, "at most 72 bytes"),
        ("\N{GRINNING FACE}" * 19, "at most 72 bytes"),
    ],
)
def test_a_new_password_must_have_8_characters_to_72_bytes(
    world: World, password: str, message: str
) -> None:
    body = {"name": "Acme", "email": "a@acme.example", "password": password}
    details = refusal(world.operator.post("/api/add", body), 422, "validation_failed")
    assert details["incorrectField"] == "password"
    assert message in details["errors"][0]["message"]
    assert password not in str(details)


def test_passwords_of_8_characters_and_of_72_bytes_work(world: World) -> None:
    for number, password in enumerate(("8 chars!", "\N{GRINNING FACE}" * 18)):
        email = f"owner{number}@acme.example"
        assert world.add(name=f"T{number}", email=email, password=password).status_code == 201
        assert world.login(email, password)
        longer = {"email": email, "password": password + "x"}
        assert world.client.post("/api/login", json=longer).status_code in (401, 422)


@pytest.mark.parametrize(
    "due_at",
    [
        "2030-01-31",
        "2030-01-31T12:00:00",
        "tomorrow",
        1900000000,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2030-02-30T12:00:00Z",
    ],
)
def test_a_time_that_is_none_is_refused(world: World, due_at: Any) -> None:
    response = world.tenant("Acme").post("/api/to-do-list", {"title": "x", "dueAt": due_at})
    assert refusal(response, 422, "validation_failed")["incorrectField"] == "dueAt"


@pytest.mark.parametrize("due_at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_the_first_and_the_last_time_are_kept(world: World, due_at: str) -> None:
    owner = world.tenant("Acme")
    item = answer(owner.post("/api/to-do-list", {"title": "x", "dueAt": due_at}))
    assert answer(owner.get(f"/api/to-do-list/{item['id']}"))["dueAt"][:19] == due_at[:19]


def test_text_is_kept_as_it_was_written(world: World) -> None:
    owner = world.tenant("Acme")
    for title in (
        "日本語 \U0001f600",
        "<script>alert(1)</script>",
        "$set",
        "a.b",
        "'; DROP --",
        "\u202eabc",
    ):
        item = answer(owner.post("/api/to-do-list", {"title": title}))
        assert answer(owner.get(f"/api/to-do-list/{item['id']}"))["title"] == title


def test_an_unexpected_error_tells_the_caller_nothing_and_the_log_everything(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret detail")

    owner = world.tenant("Acme")
    monkeypatch.setattr("multitenant.controllers.tenant.todos.service.list_todos", fail)
    response = owner.get("/api/to-do-list", headers={"X-Request-ID": "find-me"})
    refusal(response, 500, "internal_error")
    assert "secret detail" not in response.text
    assert "secret detail" in caplog.text
