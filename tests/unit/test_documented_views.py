"""Views that a product may write: each is in the OpenAPI document as it behaves, or is refused when
it is registered, by its name."""

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

import pytest
from flask import Response
from flask_openapi3 import APIBlueprint, APIView, FileStorage, RawModel, Tag
from openapi_spec_validator import validate
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from multitenant.controllers import docs
from multitenant.controllers.tenant import todos
from multitenant.errors import ConfigurationError
from multitenant.middleware.access import public
from multitenant.middleware.envelope import answer
from multitenant.openapi import Application, refuses
from multitenant.schemas.answers import Nothing, created, ok
from multitenant.schemas.payload import Absent, Answer, Headers, IdPath, Payload


class Owner(Payload):
    example: ClassVar[dict[str, Any]] = {"name": "Olga"}

    name: str
    vip: StrictBool = False
    nick: Annotated[str, Absent] = ""


class OwnerAnswer(Answer):
    name: str
    vip: Annotated[bool, Absent] = False


class Upload(Payload):
    title: str
    scans: list[FileStorage]


class Search(Payload):
    sort: Literal["name", "age"] | None = Field(None, description="By what", examples=["age"])
    tags: Annotated[list[str], Field(default_factory=list)]
    limit: int = 20


class Raw(RawModel):
    mimetypes = ["text/csv"]  # noqa: RUF012  # as RawModel wants it


class Number(Payload):
    number: int


@pytest.fixture
def app() -> Application:
    """One with a single resource, and the document."""
    made = Application(__name__, static_folder=None, doc_ui=False)
    made.register_api(todos.blueprint)
    made.register_blueprint(docs.blueprint)
    return made


@pytest.fixture
def blueprint() -> APIBlueprint:
    return APIBlueprint("owners", __name__, url_prefix="/api/owners")


def document_with(app: Application, blueprint: APIBlueprint) -> dict[str, Any]:
    """The document as it is served, which is valid."""
    app.register_api(blueprint)
    response = app.test_client().get("/openapi.json")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.get_json()
    validate(document)
    names = [each["operationId"] for item in document["paths"].values() for each in item.values()]
    assert len(set(names)) == len(names)
    return document


def refusal_of(app: Application, blueprint: APIBlueprint) -> str:
    with pytest.raises(ConfigurationError) as refused:
        app.register_api(blueprint)
    return str(refused.value)


def content_of(operation: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = operation["requestBody"]["content"]
    return content


class TestBodies:
    def test_a_form_with_files_is_multipart(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.post("/scans", responses=created(Nothing))
        def add_scans(form: Upload) -> Response:
            """Add scans."""
            return answer({}, "Added", 201)

        document = document_with(app, blueprint)
        operation = document["paths"]["/api/owners/scans"]["post"]
        assert list(content_of(operation)) == ["multipart/form-data"]
        scans = document["components"]["schemas"]["Upload"]["properties"]["scans"]
        assert scans["items"] == {"type": "string", "format": "binary"}
        assert {"413", "422"} < set(operation["responses"])

    def test_a_form_of_plain_values_may_be_encoded_either_way(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.post("", responses=ok(Nothing))
        @public
        def add_owner(form: Owner) -> Response:
            """Add an owner."""
            return answer({}, form.name)

        operation = document_with(app, blueprint)["paths"]["/api/owners"]["post"]
        assert set(content_of(operation)) == {
            "application/x-www-form-urlencoded",
            "multipart/form-data",
        }
        for kind in content_of(operation):
            sent = app.test_client().post("/api/owners", data={"name": "Olga"}, content_type=kind)
            assert sent.get_json()["message"] == "Olga", sent.text

    def test_a_raw_body_has_its_types(self, app: Application, blueprint: APIBlueprint) -> None:
        @blueprint.post("/import")
        def import_owners(raw: Raw) -> Response:
            """Import owners."""
            return answer({}, "Imported")

        operation = document_with(app, blueprint)["paths"]["/api/owners/import"]["post"]
        assert list(content_of(operation)) == ["text/csv"]

    def test_a_body_of_any_model_needs_no_example(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        class Plain(BaseModel):
            name: str = "Olga"

        @blueprint.post("", responses=ok(OwnerAnswer))
        def add_owner(body: Plain) -> Response:
            """Add an owner."""
            return answer({}, body.name)

        operation = document_with(app, blueprint)["paths"]["/api/owners"]["post"]
        assert "example" not in content_of(operation)["application/json"]

    def test_a_model_of_a_model_and_one_that_contains_itself(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        class Tree(Payload):
            owner: Owner
            below: "Annotated[list[Tree], Field(default_factory=list)]"

        @blueprint.post("", responses=ok(Nothing))
        def add_tree(body: Tree) -> Response:
            """Add a tree."""
            return answer({}, body.owner.name)

        schemas = document_with(app, blueprint)["components"]["schemas"]
        assert schemas["Tree"]["properties"]["below"]["anyOf"][0]["items"]["$ref"].endswith("/Tree")
        assert "default" not in str(schemas["Owner"])


class TestParameters:
    def test_a_query_has_defaults_but_no_null(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.get("", responses=ok(Nothing))
        def search_owners(query: Search) -> Response:
            """Search the owners."""
            return answer({}, "Found")

        operation = document_with(app, blueprint)["paths"]["/api/owners"]["get"]
        parameters = {each["name"]: each for each in operation["parameters"]}
        assert parameters["sort"] == {
            "name": "sort",
            "in": "query",
            "required": False,
            "description": "By what",
            "schema": {"type": "string", "enum": ["name", "age"], "examples": ["age"]},
        }
        assert parameters["limit"]["schema"] == {"type": "integer", "default": 20}
        assert parameters["tags"]["schema"]["items"] == {"type": "string"}

    def test_headers_and_cookies(self, app: Application, blueprint: APIBlueprint) -> None:
        class Agent(Headers):
            agent: str = Field(alias="X-Agent")

        class Theme(BaseModel):
            theme: Literal["dark", "light"] = "light"

        @blueprint.get("", responses=ok(Nothing))
        def list_owners(header: Agent, cookie: Theme) -> Response:
            """List the owners."""
            return answer({}, "Listed")

        operation = document_with(app, blueprint)["paths"]["/api/owners"]["get"]
        assert [(it["name"], it["in"], it["required"]) for it in operation["parameters"]] == [
            ("X-Agent", "header", True),
            ("theme", "cookie", False),
        ]

    @pytest.mark.parametrize(
        "rule",
        [
            "/<int:number>",
            "/<int(min=1):number>",
            "/<any('1:2', '3'):number>/of/it",
            "/<float:number>",
            "/<path:number>",
        ],
    )
    def test_any_converter(self, app: Application, blueprint: APIBlueprint, rule: str) -> None:
        @blueprint.get(rule, responses=ok(Nothing))
        def get_number(path: Number) -> Response:
            """Show a number."""
            return answer({}, str(path.number))

        paths = document_with(app, blueprint)["paths"]
        (path,) = [path for path in paths if path.startswith("/api/owners")]
        assert path.startswith("/api/owners/{number}")
        assert [it["name"] for it in paths[path]["get"]["parameters"]] == ["number"]

    def test_a_converter_that_knows_its_type(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        class ByKey(Payload):
            key: UUID

        @blueprint.get("/<uuid:key>", responses=ok(Nothing))
        @public
        def get_by_key(path: ByKey) -> Response:
            """Show one."""
            return answer({}, str(path.key))

        operation = document_with(app, blueprint)["paths"]["/api/owners/{key}"]["get"]
        assert operation["parameters"][0]["schema"] == {"type": "string", "format": "uuid"}


class TestViews:
    def test_one_without_annotations_tags_or_text(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.get("/ping_pong")
        def ping_pong():  # type: ignore[no-untyped-def]
            return answer({}, "Pong")

        operation = document_with(app, blueprint)["paths"]["/api/owners/ping_pong"]["get"]
        assert operation["summary"] == "Ping pong."
        assert operation["description"]
        assert operation["tags"] == ["owners"]
        assert "2XX" in operation["responses"]

    def test_two_of_one_name_and_one_with_two_rules(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.get("/he-re", responses=ok(Nothing))
        @blueprint.get("/he_re", responses=ok(Nothing))
        @blueprint.get("/there", responses=ok(Nothing))
        def list_todos() -> Response:
            """List them."""
            return answer({}, "Listed")

        paths = document_with(app, blueprint)["paths"]
        assert paths["/api/to-do-list"]["get"]["operationId"] == "listTodos"
        ids = {
            paths[f"/api/owners/{place}"]["get"]["operationId"]
            for place in ("he-re", "he_re", "there")
        }
        assert len(ids) == 3
        assert all(name.startswith("ownersListTodos") for name in ids)

    def test_two_blueprints_share_a_path(self, app: Application, blueprint: APIBlueprint) -> None:
        @blueprint.get("", responses=ok(Nothing))
        def list_owners() -> Response:
            """List the owners."""
            return answer({}, "Listed")

        other = APIBlueprint("writers", __name__, url_prefix="/api/owners")

        @other.post("", responses=ok(Nothing))
        def add_owner(body: Owner) -> Response:
            """Add an owner."""
            return answer({}, "Added")

        app.register_api(blueprint)
        assert set(document_with(app, other)["paths"]["/api/owners"]) == {"get", "post"}

    def test_a_blueprint_in_another_and_a_class_and_the_application_itself(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        inner = APIBlueprint("inner", __name__, url_prefix="/<id>/pets")

        @inner.get("", responses=ok(Nothing))
        def list_pets(path: IdPath) -> Response:
            """List the pets."""
            return answer({}, "Listed")

        pages = APIView(url_prefix="/api", view_tags=[Tag(name="Pages")])

        @pages.route("/pages")
        class Pages:
            @pages.doc(summary="List the pages.", responses=ok(Nothing))
            def get(self, query: Search) -> Response:
                return answer({}, "Listed")

        @app.get("/api/alone", responses=ok(Nothing))
        def alone() -> Response:
            """Stand alone."""
            return answer({}, "Alone")

        blueprint.register_api(inner)
        app.register_api_view(pages)
        paths = document_with(app, blueprint)["paths"]
        assert {"/api/owners/{id}/pets", "/api/pages", "/api/alone"} < set(paths)

    def test_models_of_one_name_are_two(self, app: Application, blueprint: APIBlueprint) -> None:
        class NewTodo(Payload):
            colour: str

        @blueprint.post("", responses=ok(Nothing))
        def add_owner(body: NewTodo) -> Response:
            """Add an owner."""
            return answer({}, body.colour)

        document = document_with(app, blueprint)

        def fields(path: str) -> set[str]:
            schema = content_of(document["paths"][path]["post"])["application/json"]["schema"]
            name = schema["$ref"].rpartition("/")[2]
            return set(document["components"]["schemas"][name]["properties"])

        assert fields("/api/owners") == {"colour"}
        assert "title" in fields("/api/to-do-list")

    def test_other_answers_than_json(self, app: Application, blueprint: APIBlueprint) -> None:
        pdf = {"content": {"application/pdf": {"schema": {"type": "string", "format": "binary"}}}}

        @blueprint.get("/report", responses={200: pdf, 204: None})
        def report() -> Response:
            """Show a report."""
            return Response(b"")

        responses = document_with(app, blueprint)["paths"]["/api/owners/report"]["get"]["responses"]
        assert list(responses["200"]["content"]) == ["application/pdf"]
        assert "X-Request-ID" in responses["204"]["headers"]


class TestRefusals:
    """What would be documented wrongly, and would not work either."""

    def test_a_path_that_the_view_does_not_read(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.get("/<id>")
        def get_owner(id: str) -> Response:  # noqa: A002
            return answer({}, id)

        message = refusal_of(app, blueprint)
        assert "GET /api/owners/{id}" in message
        assert "get_owner" in message

    def test_a_second_rule_of_a_view_that_was_documented(self, app: Application) -> None:
        @app.get("/api/owners/<id>")
        def get_owner(path: IdPath) -> Response:
            return answer({}, str(path.id))

        with pytest.raises(ConfigurationError, match="GET /api/people/"):
            app.get("/api/people/<person>")(get_owner)

    def test_a_path_with_other_names(self, app: Application, blueprint: APIBlueprint) -> None:
        @blueprint.get("/<owner_id>")
        def get_owner(path: IdPath) -> Response:
            return answer({}, str(path.id))

        assert "`owner_id`" in refusal_of(app, blueprint)

    @pytest.mark.parametrize("kind", ["header", "cookie"])
    def test_a_model_that_refuses_the_headers_of_every_request(
        self, app: Application, blueprint: APIBlueprint, kind: str
    ) -> None:
        def list_owners(**_: Any) -> Response:
            return answer({}, "Listed")

        list_owners.__annotations__ = {kind: Owner}
        blueprint.get("")(list_owners)
        assert f"`{kind}` forbids other fields" in refusal_of(app, blueprint)

    @pytest.mark.parametrize("kind", ["query", "header", "cookie"])
    def test_an_object_where_a_text_is(
        self, app: Application, blueprint: APIBlueprint, kind: str
    ) -> None:
        class Nested(BaseModel):
            owners: list[Owner] | None = None

        def list_owners(**_: Any) -> Response:
            return answer({}, "Listed")

        list_owners.__annotations__ = {kind: Nested}
        blueprint.get("")(list_owners)
        assert f"`owners` of `{kind}` is an object" in refusal_of(app, blueprint)

    @pytest.mark.parametrize(
        ("method", "kinds", "problem"),
        [
            ("post", {"body": Owner, "form": Upload}, "one body"),
            ("get", {"body": Owner}, "no body"),
        ],
    )
    def test_bodies_that_cannot_be(
        self,
        app: Application,
        blueprint: APIBlueprint,
        method: str,
        kinds: dict[str, Any],
        problem: str,
    ) -> None:
        def change_owner(**_: Any) -> Response:
            return answer({}, "Changed")

        change_owner.__annotations__ = kinds
        getattr(blueprint, method)("")(change_owner)
        assert problem in refusal_of(app, blueprint)

    def test_an_answer_without_the_envelope(
        self, app: Application, blueprint: APIBlueprint
    ) -> None:
        @blueprint.get("", responses={200: OwnerAnswer})
        def list_owners() -> Response:
            return answer({}, "Listed")

        assert "the answer 200 has no envelope" in refusal_of(app, blueprint)

    def test_an_answer_that_has_no_schema(self, app: Application, blueprint: APIBlueprint) -> None:
        class Opaque(Answer):
            call: Callable[[], int]

        @blueprint.get("", responses=ok(Opaque))
        def list_owners() -> Response:
            return answer({}, "Listed")

        assert "the answer 200 has no JSON schema" in refusal_of(app, blueprint)

    def test_an_error_code_that_there_is_not(self) -> None:
        def list_owners() -> Response:
            return answer({}, "Listed")

        with pytest.raises(ConfigurationError, match="list_owners: `odd` is no error code"):
            refuses("conflict", "odd")(list_owners)

    @pytest.mark.parametrize("rule", ["/<id>", "/<int:id>", "/<key>"])
    def test_a_path_that_another_view_has(
        self, app: Application, blueprint: APIBlueprint, rule: str
    ) -> None:
        class Key(BaseModel):
            model_config = ConfigDict(extra="allow")
            key: Annotated[str, Field()] = ""

        @blueprint.get("/<id>")
        def get_owner(path: IdPath) -> Response:
            return answer({}, str(path.id))

        class Id(BaseModel):
            id: str

        other = APIBlueprint("others", __name__, url_prefix="/api/owners")

        def get_other(**_: Any) -> Response:
            return answer({}, "Other")

        get_other.__annotations__ = {"path": Key if "key" in rule else Id}
        other.get(rule)(get_other)
        app.register_api(blueprint)
        message = refusal_of(app, other)
        assert "get_owner" in message
        assert "get_other" in message
