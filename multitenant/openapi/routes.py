"""The documented routes of an application, and what stands in the way of documenting one."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import Any, get_type_hints

from flask_openapi3 import OpenAPI
from flask_openapi3.models import Operation
from pydantic import BaseModel
from pydantic.errors import PydanticUserError
from werkzeug.routing import Rule

from multitenant.errors import ConfigurationError
from multitenant.middleware.access import module_of
from multitenant.middleware.request_rules import BODIES

View = Callable[..., Any]

METHODS = ("get", "put", "post", "delete", "patch")
PARAMETERS = ("path", "query", "header", "cookie")
"""The names of a view's arguments that hold parameters, which are those that OpenAPI gives them."""
_VARIABLE = re.compile(r"<(?:[^<>]*:)?(\w+)>")


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    path: str
    """As the document has it: `/api/posts/{id}`."""
    method: str
    """In lower case."""
    arguments: frozenset[str]
    """What Flask reads from the path."""
    view: View
    operation: Operation
    """What flask-openapi3 has collected: summary, tags, successes."""
    blueprint: str
    """Its name; empty where the view belongs to none."""
    module: str | None
    """The module that a tenant must have bought."""
    models: dict[str, Any]
    """Those of the view's arguments, by their names: `path`, `body` and so on."""

    @property
    def answers(self) -> dict[str, type[BaseModel]]:
        """The models of the answers that `ok()`, `created()` and `page_of()` have declared."""
        found = {
            status: (response.model_extra or {}).get("model")
            for status, response in (self.operation.responses or {}).items()
        }
        return {status: model for status, model in found.items() if model is not None}

    def __str__(self) -> str:
        view = inspect.unwrap(self.view)
        return f"{self.method.upper()} {self.path} ({view.__module__}.{view.__qualname__})"


def routes_of(app: OpenAPI, rules: Iterable[Rule] | None = None) -> Iterator[Route]:
    """Yield the documented routes of these rules, or of all that the application has."""
    for rule in app.url_map.iter_rules() if rules is None else rules:
        # flask-openapi3 has its own spelling of a path with a converter.
        item = app.paths.get(re.sub(r"<([^<:]+:)?", "{", rule.rule).replace(">", "}"))
        blueprint = app.blueprints.get(rule.endpoint.rpartition(".")[0])
        for method in METHODS:
            operation = getattr(item, method, None)
            if operation is not None and method.upper() in (rule.methods or ()):
                yield Route(
                    _VARIABLE.sub(r"{\1}", rule.rule),
                    method,
                    frozenset(rule.arguments),
                    app.view_functions[rule.endpoint],
                    operation,
                    blueprint.name if blueprint else "",
                    module_of(blueprint),
                    _models_of(app.view_functions[rule.endpoint]),
                )


def _models_of(view: View) -> dict[str, Any]:
    hints = get_type_hints(view)
    return {name: hints[name] for name in (*PARAMETERS, *BODIES) if name in hints}


def ensure_documentable(route: Route) -> None:
    """Raise ConfigurationError unless the document can say how to call the route."""
    found = chain(_of_path(route), _of_parameters(route), _of_body(route), _of_answers(route))
    problem = next(found, None)
    if problem:
        raise ConfigurationError(f"{route}: {problem}")


def _of_path(route: Route) -> Iterator[str]:
    model = route.models.get("path")
    named = _properties(model) if model else {}
    if "<" in route.path:
        yield "the arguments of a converter must not have '<' or '>'"
    if set(named) != route.arguments:
        yield (
            f"the path has {_listed(route.arguments)}, and the view's argument `path`"
            f" {_listed(named)}; they must be the same"
        )


def _of_parameters(route: Route) -> Iterator[str]:
    models = {kind: model for kind, model in route.models.items() if kind in PARAMETERS}
    for kind, model in models.items():
        definitions = model.model_json_schema().get("$defs", {})
        for name, schema in _properties(model).items():
            if _is_object(schema, definitions):
                yield f"`{name}` of `{kind}` is an object, which only a body can hold"
        if kind in ("header", "cookie") and model.model_config.get("extra") == "forbid":
            yield f"`{kind}` forbids other fields, and every request has some: set extra='ignore'"


def _of_body(route: Route) -> Iterator[str]:
    bodies = [kind for kind in BODIES if kind in route.models]
    if len(bodies) > 1:
        yield f"a request has one body, and the view takes {_listed(bodies)}"
    if bodies and route.method == "get":
        yield f"a GET request has no body, and the view takes `{bodies[0]}`"


def _of_answers(route: Route) -> Iterator[str]:
    for status, model in route.answers.items():
        if problem := _problem_of_schema(model):
            yield f"the answer {status} has no JSON schema: {problem}"
    for status, response in (route.operation.responses or {}).items():
        schemas = [media.media_type_schema for media in (response.content or {}).values()]
        if any(getattr(schema, "ref", None) for schema in schemas):
            yield (
                f"the answer {status} has no envelope: declare it with ok(), created() or"
                " page_of() of multitenant.schemas.answers"
            )


@cache
def _problem_of_schema(model: type[BaseModel]) -> str | None:
    try:
        model.model_json_schema(mode="serialization")
    except PydanticUserError as error:
        return error.message
    return None


def _properties(model: type[BaseModel]) -> dict[str, Any]:
    properties: dict[str, Any] = model.model_json_schema().get("properties", {})
    return properties


def _is_object(schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    if "$ref" in schema:
        return _is_object(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    options = [*schema.get("anyOf", ()), *([schema["items"]] if "items" in schema else ())]
    return schema.get("type") == "object" or any(_is_object(it, definitions) for it in options)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
