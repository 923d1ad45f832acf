"""NoSQL injection through every string of every route: in the path, the query, the headers, the
cookies, and the body with all that is nested in it. The places come from the OpenAPI document.

An operator where a string belongs is refused. A text that means something to MongoDB is a text: it
is refused, or kept as it was sent. No answer is a 5xx, none has more in it than a harmless value
gets, and what is refused has written nothing.
"""

import itertools
from typing import Any
from urllib.parse import quote, unquote

import pytest
from werkzeug.test import TestResponse

from multitenant.schemas.tenant.settings import KEY
from tests.faults.attacks import (
    BodyPath,
    Route,
    Sender,
    every_route,
    reach,
    user_for,
    value_at,
    with_value,
)
from tests.secrets_watch import WATCH
from tests.support import User, World, answer, refusal

OPERATORS: list[Any] = [
    {"$ne": None},
    {"$gt": ""},
    {"$in": ["a"]},
    {"$regex": ".*"},
    {"$where": "sleep(1000) || true"},
    {"$expr": {"$function": {"body": "return true", "args": [], "lang": "js"}}},
    {"ne": None},
    ["$ne", None],
    [{"$ne": None}],
    True,
    0,
]
TEXTS = [
    "$where",
    "$ne",
    "$$ROOT",
    "$password",
    "this.password",
    '{"$ne": null}',
    ".*",
    "^",
    "(",
    "[$ne]",
    "'; return true; var a='",
    "a\x00b",
    "\\u0000",
    "x" * 10_000,
]
QUERY_FORMS = [
    "{}[$ne]=",
    "{}[$regex]=.*",
    "{}[]=a",
    "{}.$ne=1",
    "{}%00=a",
    "$where=1",
    "{}={}&{}=.*",
]
HARMLESS = "nothing-has-this"
WATCH.spare(*TEXTS, "not a secret")
# Accepted texts that the answer does not repeat.
SILENT = {"password", "newPassword", "reason"}


@pytest.fixture(scope="module")
def victim(shared: World) -> str:
    """The id of a tenant that operators work on."""
    return shared.tenant("Victim").tenant_id


@pytest.mark.slow
def test_an_operator_is_never_taken_and_a_text_is_a_text_in_every_string_of_every_body(
    shared: World, acme: User, victim: str
) -> None:
    places = 0
    for route in every_route():
        if not route.strings():
            continue
        send = Sender(shared, user_for(route, shared, acme))
        path = reach(route, acme, victim)
        for place in route.strings():
            places += 1
            for value in [*OPERATORS, *TEXTS]:
                response = send(route, path, json=with_value(route.body(), place, value))
                if response.status_code < 300:
                    _ensure_kept_as_text(route, place, value, response)
    assert places > 40


def _ensure_kept_as_text(route: Route, place: BodyPath, value: Any, response: TestResponse) -> None:
    what = f"{route} took {value!r} in {place}: {response.text}"
    assert not route.public, what
    if place == ("value",):  # a setting, which is any JSON without operators
        assert "{'$" not in str(value), what
        assert answer(response)["value"] == value, what
        return
    assert isinstance(value, str), what
    assert "\x00" not in value, what
    if place[0] not in SILENT and route.path not in ("/api/add", "/api/tenants"):
        assert value_at(answer(response), place) == value, what


def test_no_query_shows_more_than_a_harmless_one(shared: World, acme: User) -> None:
    acme.post("/api/to-do-list", {"title": "a secret of theirs"})
    queries = 0
    for route in every_route():
        if not route.parameters("query"):
            continue
        send = Sender(shared, user_for(route, shared, acme))
        path = reach(route, acme, acme.tenant_id)
        for name in route.parameters("query"):
            harmless = shown(send(route, f"{path}?{name}={HARMLESS}"))
            values = [quote(text) for text in TEXTS]
            forms = [
                form.replace("{}={}", f"{name}={HARMLESS}").format(*[name] * 3)
                for form in QUERY_FORMS
            ]
            for query in [*(f"{name}={value}" for value in values), *forms]:
                queries += 1
                response = send(route, f"{path}?{query}")
                shown_here = shown(response) - (named(shared, query) if name == "q" else 0)
                assert shown_here <= harmless, (str(route), query, response.text)
                if "[" in query.partition("=")[0] or "$" in query.partition("=")[0]:
                    assert response.status_code == 422, (str(route), query)
    assert queries > 500


def named(world: World, query: str) -> int:
    """How many tenants have the text after the last `=` in their names, letter by letter."""
    text = unquote(query.rpartition("=")[2]).casefold()
    names = world.admin_db["tenants"].distinct("name")
    return sum(text in name.casefold() for name in names) if text else 0


def shown(response: TestResponse) -> int:
    """How much of the database an answer shows."""
    if response.status_code >= 400:
        return 0
    found = answer(response)
    return len(found["items"]) if "items" in found else 1


def test_a_query_where_none_is_read_is_refused(shared: World, acme: User) -> None:
    for query in ("id[$ne]=", "q[$regex]=.*", "$where=1", "role=owner", "%00=%00"):
        refusal(acme.get(f"/api/users/me?{query}"), 422, "validation_failed")


def test_no_path_leads_to_what_it_does_not_name(shared: World, acme: User, victim: str) -> None:
    texts = [*TEXTS, "[$ne]=", "{$ne:null}", "..", "%", "a" * 24 + "'", "0" * 25]
    for route in every_route():
        names = route.parameters("path")
        send = Sender(shared, user_for(route, shared, acme))
        for place, text in itertools.product(range(len(names)), texts):
            ids = ["0" * 24] * len(names)
            ids[place] = quote(text, safe="")
            response = send(route, route.filled(ids), json=route.body())
            literal = names == ["key"] and KEY.fullmatch(text)  # a fine name for a setting
            if literal and route.method == "PUT":
                assert answer(response)["key"] == text
                acme.delete(f"/api/settings/{text}")
                continue
            assert response.status_code in (404, 405, 422), (str(route), text, response.text)


@pytest.mark.parametrize("header", ["X-Tenant-Id", "Idempotency-Key"])
def test_no_header_of_a_route_is_more_than_a_text(shared: World, acme: User, header: str) -> None:
    """`X-Tenant-Id` is read on every route that knows a tenant, too."""
    routes = [route for route in every_route() if header in route.parameters("header")]
    if header == "X-Tenant-Id":
        routes += [route for route in every_route() if not route.public]
    assert routes
    for route in routes:
        user = user_for(route, shared, acme)
        if route.path == "/api/refresh":
            user = User(shared.client, acme.tenant_id, acme.user_id, acme.refresh, "")
        send = Sender(shared, user)
        for text in (*TEXTS[2:8], "x" * 4000):
            body = {**(route.body() or {}), "name": "Acme"} if route.body() else None
            if header == "X-Tenant-Id":
                body = route.body()
            response = send(route, route.unknown(), json=body, headers={header: text})
            assert response.status_code in (401, 403, 409, 422), (str(route), text, response.text)


def test_no_cookie_or_token_is_more_than_a_text(shared: World, acme: User) -> None:
    for route in every_route():
        if route.public:
            continue
        for text in TEXTS[2:6]:
            cookies = f"access_token_cookie={quote(text)}; refresh_token_cookie={quote(text)}"
            for headers in (
                {"Cookie": cookies},
                {"Cookie": f"{cookies}; access_token_cookie[$ne]="},
                {"Authorization": f"Bearer {text}"},
                {"jwt": text},
            ):
                response = Sender(shared, None)(
                    route, route.unknown(), json=route.body(), headers=headers
                )
                assert response.status_code == 401, (str(route), headers, response.text)
