"""Rules for the query and the body of every request, whatever its route takes.

- The query is UTF-8. Each parameter is one of the route's, and given once, unless it is a list.
  Numbers and booleans are written as JSON writes them.
- A route that takes no body is sent none, or an empty object.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from inspect import unwrap
from itertools import islice
from typing import Any, cast, get_type_hints
from urllib.parse import parse_qsl

from flask import Flask, request

from multitenant.errors import ValidationFailed
from multitenant.middleware.database_resolver import requested_view
from multitenant.middleware.error_handlers import MAX_ERRORS, MAX_SHOWN
from multitenant.middleware.strict_json import StrictRequest

BODIES = ("body", "form", "raw")
FORMS = {
    "integer": (r"-?(0|[1-9][0-9]*)", "must be a whole number, in plain digits"),
    "number": (r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?", "must be a number"),
    "boolean": (r"true|false", "must be true or false"),
}


def init_app(app: Flask) -> None:
    """Check every request that reaches a view, after it is known who asks."""

    @app.before_request
    def check_request() -> None:
        view = requested_view(app)
        if view is None:
            return
        taken = _taken_by(view)
        if request.query_string:
            _check_query(taken)
        if not taken.body:
            cast(StrictRequest, request).ensure_no_body()


@dataclass(frozen=True, slots=True)
class _Parameter:
    """A query parameter: whether it is a list, and how its values are written."""

    is_list: bool
    types: frozenset[str]

    def problem(self, values: list[str]) -> str | None:
        """What is wrong with these values; None when nothing is known to be."""
        if len(values) > 1 and not self.is_list:
            return "must not be given more than once"
        forms = [] if "string" in self.types else [FORMS[it] for it in FORMS if it in self.types]
        for value in values:
            if forms and not any(re.fullmatch(form, value) for form, _ in forms):
                return forms[0][1]
        return None


@dataclass(frozen=True, slots=True)
class _Taken:
    """What a view takes."""

    parameters: dict[str, _Parameter]
    body: bool


@cache
def _taken_by(view: Callable[..., Any]) -> _Taken:
    """What the view takes, by its annotations, as flask-openapi3 reads them."""
    hints = get_type_hints(unwrap(view))
    query = hints.get("query")
    properties = query.model_json_schema().get("properties", {}) if query else {}
    return _Taken(
        {name: _parameter(schema) for name, schema in properties.items()},
        body=any(kind in hints for kind in BODIES),
    )


def _parameter(schema: dict[str, Any]) -> _Parameter:
    alternatives = schema.get("anyOf", [schema])
    lists = [it for it in alternatives if it.get("type") == "array"]
    items = [it.get("items", {}) for it in lists] or alternatives
    return _Parameter(bool(lists), frozenset(it.get("type", "string") for it in items))


def _check_query(taken: _Taken) -> None:
    try:
        pairs = parse_qsl(request.query_string.decode(), keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise ValidationFailed("The query is not valid UTF-8") from error
    if errors := list(islice(_problems(pairs, taken), MAX_ERRORS)):
        raise ValidationFailed(errors=errors)


def _problems(pairs: list[tuple[str, str]], taken: _Taken) -> Iterator[dict[str, str]]:
    """Yield what is wrong with the query, parameter by parameter."""
    for name in Counter(name for name, _ in pairs):
        problem: str | None = "is not a parameter of this route"
        if parameter := taken.parameters.get(name):
            problem = parameter.problem([value for key, value in pairs if key == name])
        if problem:
            yield {"field": name[:MAX_SHOWN], "message": problem}
