"""Request bodies: JSON in the strict sense, safe to store."""

import json
import math
import re
from functools import cached_property
from typing import Any

from flask import Request
from werkzeug.exceptions import UnsupportedMediaType

from multitenant.errors import MalformedJson, ValidationFailed

MAX_DEPTH = 32
MAX_ERRORS = 20
SURROGATE = re.compile("[\ud800-\udfff]")
INT64 = range(-(2**63), 2**63)


class StrictRequest(Request):
    """A request whose `get_json()` answers an object, or raises."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body's object, whatever the arguments.

        Raises MalformedJson, ValidationFailed, and Werkzeug's errors for a wrong media type or
        an oversize body.
        """
        return self._object

    @cached_property
    def _object(self) -> dict[str, Any]:
        body = self.get_data()
        if not body:
            raise MalformedJson("The body is empty; send a JSON object")
        if not self.is_json:
            raise UnsupportedMediaType()
        return parse_object(body)


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Refused with MalformedJson: invalid UTF-8, syntax errors, duplicate keys, NaN and infinities,
    lone surrogates, nesting deeper than MAX_DEPTH. Refused with ValidationFailed: anything but an
    object, NUL in strings, keys with `$` or `.`, integers beyond 64 bits.
    """
    try:
        value = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        raise MalformedJson("The body is not valid UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedJson(f"The body is not valid JSON: {error.msg} at {where}") from error
    except (RecursionError, ValueError) as error:
        raise MalformedJson("The body is nested too deeply or has a number too long") from error
    errors: list[dict[str, str]] = []
    _inspect(value, "", 1, errors)
    if errors:
        raise ValidationFailed(errors=errors[:MAX_ERRORS])
    if not isinstance(value, dict):
        raise ValidationFailed("The body must be a JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise MalformedJson(f"The key {_shown(twice)} stands twice in one object")
    return result


def _no_constant(name: str) -> Any:
    raise MalformedJson(f"{name} is not a JSON value")


def _inspect(value: Any, path: str, depth: int, errors: list[dict[str, str]]) -> None:
    """Collect what is wrong with the value at `path` and all that is in it."""
    if depth > MAX_DEPTH:
        raise MalformedJson(f"The body is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            where = f"{path}.{_shown(key)}" if path else _shown(key)
            if "$" in key or "." in key:
                errors.append({"field": where, "message": "a key must not have '$' or '.'"})
            _inspect(key, where, depth, errors)
            _inspect(inner, where, depth + 1, errors)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _inspect(inner, f"{path}.{index}" if path else str(index), depth + 1, errors)
    elif problem := _problem(value):
        errors.append({"field": path, "message": problem})


def _problem(value: Any) -> str | None:
    """What is wrong with a string or number; None when nothing is."""
    if isinstance(value, str):
        if SURROGATE.search(value):
            raise MalformedJson("The body has half a surrogate pair, which is no character")
        return "must not contain NUL" if "\x00" in value else None
    if type(value) is int and value not in INT64:
        return "must fit in 64 bits"
    if type(value) is float and math.isinf(value):
        return "must be a finite number"
    return None


def _shown(key: str) -> str:
    """A key as an error message may repeat it."""
    return key[:60].encode("unicode_escape").decode("ascii")
