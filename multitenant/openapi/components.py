"""The schemas of the document, in a form that code generators read well.

- They have no titles: the names of schemas and fields say as much.
- Bodies have no `default`: generators take a field with one for a field that is always there, or
  send what was not set. The description tells what counts instead of a missing value, or null.
- Answers have no `default` either: a field is there (`required`), or it may be absent.
"""

import copy
import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from multitenant.schemas.payload import MAY_BE_ABSENT, NULL_IS_DEFAULT

Mode = Literal["validation", "serialization"]

PREFIX = "#/components/schemas/"
NULL = {"type": "null"}
_MAPS = ("properties", "patternProperties", "$defs")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = ("items", "additionalProperties", "contains", "propertyNames", "not")


class Components:
    """The schemas of these models of requests and answers. Models of one name have longer ones."""

    def __init__(
        self, requests: Iterable[type[BaseModel]], answers: Iterable[type[BaseModel]]
    ) -> None:
        models: list[tuple[type[BaseModel], Mode]] = [
            *((model, "validation") for model in dict.fromkeys(requests)),
            *((model, "serialization") for model in dict.fromkeys(answers)),
        ]
        self._references, schemas = models_json_schema(models, ref_template=PREFIX + "{model}")
        self._raw: dict[str, Any] = schemas.get("$defs", {})

    def request(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return a reference to the schema of what a request holds."""
        return self._references[model, "validation"]

    def answer(self, model: type[BaseModel]) -> dict[str, Any]:
        """Return a reference to the schema of what is answered."""
        return self._references[model, "serialization"]

    def parameters(self, model: type[BaseModel], where: str) -> list[dict[str, Any]]:
        """Return the parameters that the model's fields are, in `query`, `path` and so on."""
        schema = self.resolve(self.request(model))
        required = schema.get("required", ())
        return [
            _parameter(name, where, field, required=where == "path" or name in required)
            for name, field in schema.get("properties", {}).items()
        ]

    def resolve(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema, or the one that it refers to."""
        while "$ref" in schema:
            schema = self._raw[schema["$ref"].removeprefix(PREFIX)]
        return schema

    def used_by(self, document: Any) -> dict[str, Any]:
        """Return the schemas that the document refers to, and those that these refer to."""
        used: dict[str, Any] = {}
        pending = [document]
        while pending:
            text = json.dumps(pending.pop())
            for name, schema in self._raw.items():
                if name not in used and json.dumps(PREFIX + name) in text:
                    used[name] = _tidy(copy.deepcopy(schema))
                    pending.append(schema)
        return {name: used[name] for name in sorted(used)}


def _parameter(name: str, where: str, field: dict[str, Any], *, required: bool) -> dict[str, Any]:
    """A parameter. It cannot be null, so a field that may be is one that may be left out."""
    schema = copy.deepcopy(field)
    default = schema.get("default")
    schema.pop(NULL_IS_DEFAULT, None)
    parameter: dict[str, Any] = {"name": name, "in": where, "required": required}
    for key in ("description", "deprecated"):
        if key in schema:
            parameter[key] = schema.pop(key)
    options = [option for option in schema.get("anyOf", ()) if option != NULL]
    if len(options) == 1:
        schema = {**options[0], **{key: schema[key] for key in schema if key != "anyOf"}}
    parameter["schema"] = _tidy(schema)
    if default is not None:
        parameter["schema"]["default"] = default
    return parameter


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Take out of the schema, and of all those inside, what the module's docstring says."""
    schema.pop("title", None)
    schema.pop("default", None)
    if "properties" in schema:
        _tidy_fields(schema)
    for inner in _inside(schema):
        _tidy(inner)
    return schema


def _tidy_fields(schema: dict[str, Any]) -> None:
    """Tell what counts instead of a field that is left out, and which an answer may lack."""
    required = schema.pop("required", [])
    for name, field in schema["properties"].items():
        if field.pop(MAY_BE_ABSENT, False):
            required = [other for other in required if other != name]
        elif field.get("default") is not None and name not in required:
            told = f"`{json.dumps(field['default'])}` without it"
            field["description"] = "; ".join(filter(None, [field.get("description"), told]))
        if field.pop(NULL_IS_DEFAULT, False):
            of_type = [key for key in field if key not in ("description", "default")]
            field["anyOf"] = [{key: field.pop(key) for key in of_type}, NULL]
    if required:
        schema["required"] = required


def _inside(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schemas that are parts of this one."""
    for key in _MAPS:
        yield from schema.get(key, {}).values()
    for key in _LISTS:
        yield from schema.get(key, ())
    for key in _SINGLE:
        if isinstance(schema.get(key), dict):
            yield schema[key]
