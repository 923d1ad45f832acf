"""Rules that hold on every route: the query, bodies that nobody reads, media types; and what caches
are told."""

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MakeWorld
from tests.contract import contract
from tests.integration.test_bad_input import VALID_BODIES, WITHOUT_BODY, send
from tests.support import PAGES, World, answer, refusal

ROUTES = sorted(WITHOUT_BODY | set(VALID_BODIES))
JSON = {"Content-Type": "application/json"}
ORIGIN = "https://app.example.com"


@pytest.fixture(scope="module")
def acme(shared: World) -> World:
    shared.tenant("Acme")
    return shared


def parameters() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every query parameter of the document: method, rule, and the parameter."""
    for path, item in contract().document["paths"].items():
        for method, operation in item.items():
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "query":
                    yield method.upper(), re.sub(r"{(\w+)}", r"<\1>", path), parameter


def values_of(parameter: dict[str, Any]) -> list[str]:
    """Values that it takes."""
    schema = parameter["schema"]
    kinds = {it.get("type") for it in schema.get("anyOf", [schema])}
    return ["1", "2"] if "integer" in kinds else ["true", "false"] if "boolean" in kinds else ["x"]


class TestQueries:
    @pytest.mark.parametrize(("method", "rule"), ROUTES)
    def test_a_parameter_that_no_route_knows_is_refused_by_name(
        self, acme: World, method: str, rule: str
    ) -> None:
        path = re.sub(r"<\w+>", "6b01495c11c99b6e947f21d9", rule)
        for query, field in (("colour=red", "colour"), ("limit[$ne]=1", "limit[$ne]"), ("=", None)):
            body = {"json": VALID_BODIES[method, rule]} if (method, rule) in VALID_BODIES else {}
            response = send(acme, method, rule, path=f"{path}?{query}", **body)
            if rule == "/api/refresh":  # `send` has an access token
                refusal(response, 401, "token_invalid")
                continue
            details = refusal(response, 422, "validation_failed")
            assert details.get("incorrectField") == field
            assert details["errors"][0]["message"] == "is not a parameter of this route"

    def test_a_parameter_that_is_given_twice_is_refused_by_name(self, acme: World) -> None:
        tried = 0
        for method, rule, parameter in parameters():
            path = re.sub(r"<\w+>", "6b01495c11c99b6e947f21d9", rule)
            name = parameter["name"]
            first = values_of(parameter)[0]
            for second in (*values_of(parameter), "x", ""):
                query = f"?{name}={first}&{name}={second}"
                response = send(acme, method, rule, path=path + query)
                details = refusal(response, 422, "validation_failed")
                assert details["incorrectField"] == name, query
                tried += 1
        assert tried > 50

    @pytest.mark.parametrize(
        "text",
        [
            *("1_0", "1.0", "%2B1", "+1", "1+", "%201", "%0A1", "1e1", "0x1", "01", "", "--1"),
            *("1,0", "\u0661", "\uff11", "%C2%B2", "\u0967", "true", "null", "9" * 5000),
        ],
    )
    def test_a_number_is_written_in_plain_digits(self, acme: World, text: str) -> None:
        for method, rule, parameter in parameters():
            if values_of(parameter) != ["1", "2"]:
                continue
            path = re.sub(r"<\w+>", "6b01495c11c99b6e947f21d9", rule)
            response = send(acme, method, rule, path=f"{path}?{parameter['name']}={text}")
            details = refusal(response, 422, "validation_failed")
            assert details["incorrectField"] == parameter["name"]

    @pytest.mark.parametrize(
        "text", ["1", "0", "yes", "on", "t", "True", "TRUE", " true", "", "null"]
    )
    def test_a_boolean_is_true_or_false(self, acme: World, text: str) -> None:
        response = send(acme, "GET", "/api/posts", path=f"/api/posts?includeDeleted={text}")
        details = refusal(response, 422, "validation_failed")
        assert details["errors"] == [
            {"field": "includeDeleted", "message": "must be true or false"}
        ]
        for good in ("true", "false"):
            path = f"/api/posts?includeDeleted={good}&limit=20"
            assert send(acme, "GET", "/api/posts", path=path).status_code == 200

    @pytest.mark.parametrize("query", ["q=%FF", "%FF=1", "q=%C3%28", "q=%ED%A0%80"])
    def test_what_is_no_utf_8_is_refused(self, acme: World, query: str) -> None:
        for path in ("/api/tenants", "/healthz"):
            response = acme.operator.get(f"{path}?{query}")
            refusal(response, 422, "validation_failed")
            assert response.get_json()["message"] == "The query is not valid UTF-8"

    def test_an_answer_names_a_bounded_number_of_them_and_not_whole(self, acme: World) -> None:
        query = "&".join(f"{number}{'x' * 100}=1" for number in range(100))
        details = refusal(acme.client.get(f"/healthz?{query}"), 422, "validation_failed")
        assert len(details["errors"]) == 20
        assert max(len(error["field"]) for error in details["errors"]) == 60

    def test_who_asks_comes_first(self, acme: World) -> None:
        refusal(acme.client.get("/api/to-do-list?colour=red"), 401, "token_missing")


class TestBodiesThatNobodyReads:
    @pytest.mark.parametrize(("method", "rule"), sorted(WITHOUT_BODY))
    def test_are_refused_as_any_other_wrong_body(self, acme: World, method: str, rule: str) -> None:
        if rule == "/api/refresh":
            pytest.skip("`send` has an access token")
        for data, headers, status, code in (
            (b'{"x": 1}', JSON, 422, "validation_failed"),
            (b"[]", JSON, 422, "validation_failed"),
            (b"{", JSON, 400, "malformed_json"),
            (b"{}", {}, 415, "unsupported_media_type"),
            (b"x=1", {"Content-Type": "application/x-www-form-urlencoded"}, 415, None),
        ):
            response = send(acme, method, rule, data=data, headers=headers)
            details = refusal(response, status, code or "unsupported_media_type")
            if data == b'{"x": 1}':
                assert details["incorrectField"] == "x"

    @pytest.mark.parametrize(("method", "path"), [("GET", "/healthz"), ("POST", "/api/logout")])
    def test_are_not_kept_when_they_are_too_large(
        self, acme: World, method: str, path: str
    ) -> None:
        response = send(acme, method, path, data=b"x" * 2_000_000, headers=JSON)
        refusal(response, 413, "payload_too_large")

    def test_an_empty_object_is_none(self, acme: World) -> None:
        """As some clients send it with every POST."""
        session = acme.login("owner@acme.example")
        assert session.get("/api/users/me", json={}).status_code == 200
        assert session.post("/api/logout", {}).status_code == 200
        refusal(session.get("/api/users/me"), 401, "token_revoked")

    def test_they_come_before_a_place_is_taken(self, acme: World) -> None:
        """A body that trickles in must hold no lease, whatever the method."""
        held: list[int] = []

        class Slow(io.BytesIO):
            def readinto(self, _: Any) -> int:
                held.append(acme.platform.connections.stats()["leases"])
                return 0

        session = acme.login("owner@acme.example")
        response = session.get(
            "/api/users/me", input_stream=Slow(b"{}"), headers={**JSON, "Content-Length": "2"}
        )
        refusal(response, 400, "malformed_json")
        assert held
        assert not any(held)


class TestMediaTypes:
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            ({"Content-Type": "application/json"}, 201),
            ({"Content-Type": "APPLICATION/JSON; Charset=UTF-8"}, 201),
            ({"Content-Type": 'application/json;charset="utf-8"'}, 201),
            ({"Content-Type": "application/json; charset=utf8; profile=x"}, 201),
            ({"Content-Type": "application/json", "Content-Encoding": "identity"}, 201),
            ({"Content-Type": "application/json; charset=iso-8859-1"}, 415),
            ({"Content-Type": "application/json; charset=utf-16"}, 415),
            ({"Content-Type": "application/json; charset=utf-7"}, 415),
            ({"Content-Type": "application/json; charset=bogus"}, 415),
            ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, 415),
            ({"Content-Type": "application/json", "Content-Encoding": "br, identity"}, 415),
            ({"Content-Type": "application/jsonx"}, 415),
            ({"Content-Type": "application/json-patch+json"}, 415),
            ({"Content-Type": "application/vnd.api+json"}, 415),
            ({"Content-Type": "text/json"}, 415),
            ({"Content-Type": "*/*"}, 415),
            ({"Content-Type": ""}, 415),
            ({}, 415),
        ],
    )
    def test_a_body_is_json_in_utf_8(
        self, acme: World, headers: dict[str, str], status: int
    ) -> None:
        data = json.dumps({"title": "Übermut"}, ensure_ascii=False).encode()
        response = send(acme, "POST", "/api/to-do-list", data=data, headers=headers)
        if status == 415:
            refusal(response, 415, "unsupported_media_type")
        assert response.status_code == status


@pytest.mark.parametrize("between", ["x", "_", "\u0661", "/", "\n"])
def test_between_date_and_time_is_a_t_or_a_space(acme: World, between: str) -> None:
    body = {"title": "x", "dueAt": f"2030-01-31{between}12:00:00Z"}
    response = send(acme, "POST", "/api/to-do-list", json=body)
    assert refusal(response, 422, "validation_failed")["incorrectField"] == "dueAt"
    query = {"since": body["dueAt"]}
    response = send(acme, "GET", "/api/audit", query_string=query)
    assert refusal(response, 422, "validation_failed")["incorrectField"] == "since"
    for good in ("T", "t", " "):
        body["dueAt"] = f"2030-01-31{good}12:00:00.5+01:00"
        assert send(acme, "POST", "/api/to-do-list", json=body).status_code == 201


class TestFiles:
    """The pages and the document, which browsers and generators of clients keep."""

    PATHS = sorted(path for _, path in PAGES if path != "/docs/")

    @pytest.mark.parametrize("path", PATHS)
    def test_who_has_them_gets_304(self, acme: World, path: str) -> None:
        first = acme.client.get(path)
        tag = first.headers["ETag"]
        assert re.fullmatch('"[0-9a-f]{32}"', tag)
        assert first.headers["Cache-Control"] in ("no-cache", "public, max-age=86400")
        for sent in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            for method in ("GET", "HEAD"):
                response = acme.client.open(path, method=method, headers={"If-None-Match": sent})
                assert response.status_code == 304, sent
                assert response.data == b""
                for name in ("ETag", "Cache-Control", "Content-Security-Policy", "Vary"):
                    assert response.headers[name] == first.headers[name]
        for sent in ('"x"', tag.strip('"')[:-1], ""):
            response = acme.client.get(path, headers={"If-None-Match": sent})
            assert (response.status_code, response.data) == (200, first.data)
        head = acme.client.head(path)
        assert (head.status_code, head.headers["ETag"], head.data) == (200, tag, b"")

    @pytest.mark.parametrize("path", PATHS)
    def test_every_process_gives_them_the_same_tag(
        self, acme: World, make_world: MakeWorld, path: str
    ) -> None:
        other = make_world()
        assert other.client.get(path).headers["ETag"] == acme.client.get(path).headers["ETag"]

    def test_no_answer_of_the_api_is_kept(self, acme: World) -> None:
        response = acme.operator.get("/api/users/me", headers={"If-None-Match": "*"})
        assert response.status_code == 200
        assert response.headers["Cache-Control"] == "no-store"


class TestVary:
    """Caches must not give one origin what another one got."""

    @pytest.mark.parametrize("origins", ["", ORIGIN, f"{ORIGIN},https://other.example.com"])
    def test_every_answer_says_that_it_depends_on_the_origin(
        self, make_world: MakeWorld, origins: str
    ) -> None:
        world = make_world(cors_origins=origins)
        tag = world.client.get("/openapi.json").headers["ETag"]
        preflight = {"Access-Control-Request-Method": "POST"}
        asked: list[tuple[str, str, dict[str, str], int]] = [
            ("GET", "/healthz", {}, 200),
            ("HEAD", "/healthz", {}, 200),
            ("GET", "/openapi.json", {"If-None-Match": tag}, 304),
            ("GET", "/docs/", {}, 302),
            ("GET", "/nothing", {}, 404),
            ("DELETE", "/healthz", {}, 405),
            ("GET", "/api/users/me", {}, 401),
            ("POST", "/api/login", {}, 400),
            ("OPTIONS", "/api/to-do-list", {}, 200),
            ("OPTIONS", "/api/to-do-list", preflight, 200),
            ("OPTIONS", "/nothing", preflight, 404),
        ]
        for method, path, headers, status in asked:
            for origin in ({}, {"Origin": ORIGIN}, {"Origin": "https://evil.example"}):
                response = world.client.open(path, method=method, headers={**headers, **origin})
                assert response.status_code == status
                assert len(response.headers.getlist("Vary")) == 1
                vary = {name.strip() for name in response.headers["Vary"].split(",")}
                assert "Origin" in vary, (method, path)
                if method == "OPTIONS":
                    assert "Access-Control-Request-Headers" in vary

    def test_of_an_answer_to_a_bug_too(
        self, make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = make_world(cors_origins=ORIGIN)

        def fail(*_: Any) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr("multitenant.controllers.health.is_ready", fail)
        response = world.client.get("/readyz", headers={"Origin": ORIGIN})
        refusal(response, 500, "internal_error")
        assert response.headers["Vary"] == "Origin"
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert answer(response)["requestId"]
