"""The OpenAPI document: every route, every answer, and examples that work."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from multitenant.cli import cli, main
from multitenant.errors import DomainError
from multitenant.middleware.access import Access, access_of
from multitenant.middleware.error_handlers import STATUS_OF_CODE
from tests.contract import contract
from tests.support import User, World, answer

ROOT = Path(__file__).parents[2]


def operations() -> dict[tuple[str, str], dict[str, Any]]:
    """Every operation of the document, by method and path."""
    return {
        (method.upper(), path): operation
        for path, item in contract().document["paths"].items()
        for method, operation in item.items()
    }


def test_the_document_has_every_route_of_the_application_and_no_other(world: World) -> None:
    routes = {
        (method, rule.rule.replace("<", "{").replace(">", "}"))
        for rule in world.app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}
        if not rule.rule.startswith(("/openapi.json", "/docs"))
    }
    assert set(operations()) == routes


def test_it_is_served_as_json_and_is_openapi_3_1(world: World) -> None:
    document = world.client.get("/openapi.json").get_json()
    assert document["openapi"].startswith("3.1")
    assert document == contract().document


def test_the_command_prints_it_and_needs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MULTITENANT_ENV", "production")
    printed = CliRunner().invoke(cli, ["openapi"])
    assert json.loads(printed.output) == contract().document
    CliRunner().invoke(cli, ["openapi", "-o", "openapi.json"])
    assert json.loads(Path("openapi.json").read_text()) == contract().document
    assert [path.name for path in tmp_path.iterdir()] == ["openapi.json"]


def test_every_operation_has_a_name_of_its_own_a_summary_a_tag_and_a_success() -> None:
    names = [operation["operationId"] for operation in operations().values()]
    assert len(set(names)) == len(names)
    for where, operation in operations().items():
        assert operation["summary"], where
        assert operation["tags"], where
        successes = [status for status in operation["responses"] if status.startswith("2")]
        assert len(successes) == 1, where


def test_the_command_says_when_it_cannot_write(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["multitenant", "openapi", "-o", "/nonexistent/openapi.json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("Error: [Errno 2]")


def test_links_lead_on_from_what_was_made() -> None:
    """Each gives all parameters of the path that it leads to."""
    paths = {operation["operationId"]: path for (_, path), operation in operations().items()}
    links = 0
    for where, operation in operations().items():
        for link in operation["responses"].get("201", {}).get("links", {}).values():
            path = paths[link["operationId"]]
            assert set(link["parameters"]) == set(re.findall(r"{(\w+)}", path)), where
            links += 1
    assert links >= 20


def test_what_is_closed_says_so_and_nothing_else_does(world: World) -> None:
    for rule in world.app.url_map.iter_rules():
        path = rule.rule.replace("<", "{").replace(">", "}")
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            if (method, path) not in operations():
                continue
            operation = operations()[method, path]
            closed = access_of(world.app.view_functions[rule.endpoint]) is not Access.PUBLIC
            assert bool(operation["security"]) is closed, path
            assert ("401" in operation["responses"]) or not closed


def test_every_error_code_is_somewhere_in_it_and_in_the_guide() -> None:
    """`method_not_allowed` is no route's own answer."""
    document = str(contract().document["paths"])
    guide = (ROOT / "docs" / "api.md").read_text()
    for code in set(STATUS_OF_CODE) - {"method_not_allowed"}:
        assert f"`{code}`" in document, code
    for code in STATUS_OF_CODE:
        assert f"`{code}`" in guide, code


def test_every_domain_error_has_a_status() -> None:
    pending = [DomainError]
    while pending:
        error = pending.pop()
        pending += error.__subclasses__()
        assert error.code in STATUS_OF_CODE


def test_the_page_and_its_files_come_from_here_and_lead_nowhere_else(world: World) -> None:
    page = world.client.get("/docs")
    assert page.status_code == 200
    assert page.mimetype == "text/html"
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]
    assert "//" not in page.text.replace("<!DOCTYPE html>", "")
    for name in re.findall(r'(?:src|href)="(docs/[^"]+)"', page.text):
        response = world.client.get(f"/{name}")
        assert response.status_code == 200
        assert len(response.data) > 100
    assert world.client.get("/docs/").headers["Location"].endswith("/docs")


class TestExamples:
    """The examples of the bodies, sent in an order in which each must work."""

    @pytest.fixture
    def story(self, world: World) -> Any:
        sent: set[tuple[str, str]] = set()

        def send(user: User | None, method: str, path: str, *ids: str, **changes: Any) -> Any:
            body = operations()[method, path]["requestBody"]["content"]["application/json"]
            sent.add((method, path))
            url = path
            for id_ in ids:
                url = re.sub(r"\{\w+\}", id_, url, count=1)
            sender: Any = user.send if user else world.client.open
            kwargs: dict[str, Any] = {"json": {**body["example"], **changes}}
            if user is None:
                kwargs["method"] = method
                response = sender(url, **kwargs)
            else:
                response = sender(method, url, **kwargs)
            assert response.status_code in (200, 201), f"{method} {path}: {response.text}"
            return answer(response)

        return send, sent

    def test_each_of_them_works(self, world: World, story: Any) -> None:
        send, sent = story
        operator = world.operator
        acme = send(operator, "POST", "/api/add")
        session = send(None, "POST", "/api/login")
        ann = User(world.client, acme["tenantId"], acme["userId"], session["accessToken"], "")
        send(operator, "PATCH", "/api/tenants/{id}", ann.tenant_id)
        send(operator, "POST", "/api/tenants/{id}/impersonate", ann.tenant_id, userId=ann.user_id)
        ben = send(ann, "POST", "/api/users")
        send(None, "POST", "/api/invitations/accept", token=ben["invitationToken"])
        send(ann, "PATCH", "/api/users/{id}", ben["id"])
        todo = send(ann, "POST", "/api/to-do-list")
        send(ann, "PATCH", "/api/to-do-list/{id}", todo["id"])
        employee = send(ann, "POST", "/api/employees")
        send(ann, "PATCH", "/api/employees/{id}", employee["id"])
        post = send(ann, "POST", "/api/posts")
        send(ann, "POST", "/api/posts/{id}/comments", post["id"])
        send(ann, "PATCH", "/api/posts/{id}", post["id"])
        send(ann, "POST", "/api/orders")
        send(ann, "PUT", "/api/settings/{key}", "theme")
        send(ann, "PUT", "/api/users/me/password")
        operator.delete(f"/api/tenants/{ann.tenant_id}")
        send(operator, "POST", "/api/tenants/{id}/purge", ann.tenant_id)
        send(operator, "POST", "/api/tenants")
        for where, operation in operations().items():
            if "requestBody" in operation and where not in sent:
                media = operation["requestBody"]["content"]["application/json"]
                contract().validate(media["example"], media["schema"])
