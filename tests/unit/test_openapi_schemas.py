"""What the OpenAPI document says of the platform's own bodies, answers and parameters."""

from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from pydantic import ValidationError

from multitenant.middleware.error_handlers import STATUS_OF_CODE
from multitenant.openapi.routes import Route, routes_of
from multitenant.schemas.admin.usage import UsageAnswer
from multitenant.schemas.tenant.todos import NewTodo, TodoChanges
from tests.contract import contract

CLOSED_LISTS = {"role", "status", "isolation", "modules", "outcome", "code", "kind"}


def document() -> dict[str, Any]:
    return contract().document


def schemas() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document()["components"]["schemas"]
    return found


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Every object in a part of the document."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from inside(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from inside(inner)


def operations() -> list[dict[str, Any]]:
    return [each for item in document()["paths"].values() for each in item.values()]


def routes_with_bodies() -> list[Route]:
    return [route for route in routes_of(contract().app) if "body" in route.models]


def test_it_is_valid_openapi() -> None:
    validate(document())


def test_no_schema_has_a_title_or_a_default() -> None:
    """A default would be sent by some generators, and be taken for always there by others."""
    for name, schema in schemas().items():
        fields = [schema, *schema.get("properties", {}).values()]
        for part in (it for field in fields for it in inside({**field, "properties": None})):
            assert "default" not in part, name
            assert "title" not in part, name


def test_a_parameter_has_no_title_no_null_and_only_a_default_that_is_taken() -> None:
    for operation in operations():
        for parameter in operation.get("parameters", []):
            schema = parameter["schema"]
            assert "title" not in schema
            assert {"type": "null"} not in schema.get("anyOf", [])
            if "default" in schema:
                Draft202012Validator(schema).validate(schema["default"])


def test_closed_lists_are_enums() -> None:
    for name, schema in schemas().items():
        for field in CLOSED_LISTS & set(schema.get("properties", {})):
            text = str(schema["properties"][field])
            referred = [other for other in schemas() if f"'#/components/schemas/{other}'" in text]
            assert "enum" in text or any("enum" in schemas()[it] for it in referred), (name, field)


def test_the_error_codes_are_those_that_have_a_status() -> None:
    assert schemas()["ErrorCode"]["enum"] == sorted(STATUS_OF_CODE)


def test_every_example_fits_its_schema() -> None:
    count = 0
    for operation in operations():
        contents = [operation.get("requestBody", {}), *operation["responses"].values()]
        for media in (it["content"]["application/json"] for it in contents if it):
            values = [it["value"] for it in media.get("examples", {}).values()]
            for value in [*values, *([media["example"]] if "example" in media else [])]:
                contract().validate(value, media["schema"])
                count += 1
    assert count > 100


@pytest.mark.parametrize("route", routes_with_bodies(), ids=str)
def test_a_body_takes_null_and_omission_where_the_document_says_so(route: Route) -> None:
    model = route.models["body"]
    schema = schemas()[model.__name__]
    validator = Draft202012Validator({**schema, "components": document()["components"]})
    for field in schema["properties"]:
        left_out = {name: value for name, value in model.example.items() if name != field}
        for body in ({**model.example, field: None}, left_out):
            try:
                model.model_validate(body)
                taken = True
            except ValidationError:
                taken = False
            assert validator.is_valid(body) is taken, (field, body)


def test_every_answer_names_its_headers() -> None:
    for operation in operations():
        for status, response in operation["responses"].items():
            wanted = {"X-Request-ID"}
            wanted |= {"WWW-Authenticate"} if status == "401" else set()
            wanted |= {"Retry-After"} if status in ("429", "503") else set()
            assert set(response["headers"]) == wanted


def test_a_status_that_nobody_knows_is_null() -> None:
    """One odd record does not take the page from all others."""
    told = {"tenantId": ObjectId(), "name": "Acme", "collections": [], "unmeasured": []}
    sums = {"documents": 0, "bytes": 0, "diskBytes": 0, "unmeasuredCount": 0}
    read = UsageAnswer.of_all([{**told, **sums, "status": it} for it in ("active", "odd", 1)])
    assert [each["status"] for each in read] == ["active", None, None]


def test_null_is_the_same_as_left_out_where_there_is_a_default() -> None:
    assert NewTodo(title="Milk", done=None) == NewTodo(title="Milk")
    with pytest.raises(ValidationError):
        TodoChanges(done=None)
