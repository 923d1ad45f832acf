"""Request bodies: JSON in the strict sense, safe to store."""

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from itertools import islice
from typing import Any

from flask import Request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from multitenant.errors import MalformedJson, ValidationFailed

MAX_DEPTH = 32
MAX_ERRORS = 20
SURROGATE = re.compile("[\ud800-\udfff]")
INT64 = range(-(2**63), 2**63)


class StrictRequest(Request):
    """A request whose `get_json()` answers an object, or raises."""

    @property
    def has_body(self) -> bool:
        """Whether a body follows, by the headers."""
        return bool(self.content_length) or "HTTP_TRANSFER_ENCODING" in self.environ

    def receive(self) -> None:
        """Wait until the body has arrived. What is wrong with it concerns whoever reads it."""
        with suppress(HTTPException, MalformedJson):
            self._body()

    def ensure_no_body(self) -> None:
        """Return if there is no body, or an empty object; raise what `get_json()` raises, and
        ValidationFailed, which names its fields."""
        if self.has_body and self._body() and self._object:
            message = "is not a field of this request, which has no body"
            fields = islice(self._object, MAX_ERRORS)
            raise ValidationFailed(
                errors=[{"field": _shown(it), "message": message} for it in fields]
            )

    _failure: HTTPException | MalformedJson | None = None

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:
        """Return the body's object, whatever the arguments.

        Raises MalformedJson, ValidationFailed, and Werkzeug's errors for a wrong media type or
        an oversize body.
        """
        return self._object

    @cached_property
    def _object(self) -> dict[str, Any]:
        body = self._body()
        if not body:
            raise MalformedJson("The body is empty; send a JSON object")
        if not self._is_plain_json():
            raise UnsupportedMediaType()
        return parse_object(body)

    def _is_plain_json(self) -> bool:
        """Whether the headers say that the body is JSON, in UTF-8, and not compressed."""
        coding = self.headers.get("Content-Encoding", "").strip().lower()
        charset = self.mimetype_params.get("charset", "utf-8").lower()
        return (
            self.mimetype == "application/json"
            and charset in ("utf-8", "utf8")
            and coding in ("", "identity")
        )

    def _body(self) -> bytes:
        """The whole body. What was wrong with it the first time is wrong with it for good."""
        if self._failure:
            raise self._failure
        try:
            return self._read_body()
        except (HTTPException, MalformedJson) as error:
            self._failure = error
            raise

    def _read_body(self) -> bytes:
        try:
            body = self.get_data()
        except HTTPException:
            raise
        except Exception as error:  # each WSGI server has its own for broken chunks
            raise MalformedJson("The body could not be read to its end") from error
        limit = self.max_content_length
        if self.content_length is None and limit is not None and len(body) >= limit:
            # A chunked body tells no length; Werkzeug stops reading at the limit, silently.
            raise RequestEntityTooLarge()
        if self.content_length is not None and len(body) < self.content_length:
            raise MalformedJson("The body ended before its Content-Length")
        return body


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`.

    Refused with MalformedJson: invalid UTF-8, syntax errors, duplicate keys, NaN and infinities,
    lone surrogates, nesting deeper than MAX_DEPTH. Refused with ValidationFailed: anything but an
    object, NUL in strings, keys with `$` or `.`, integers beyond 64 bits.
    """
    if body.startswith(codecs.BOM_UTF8):
        raise MalformedJson("The body begins with a byte order mark; leave it out")
    try:
        value = DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise MalformedJson("The body is not valid UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise MalformedJson(f"The body is not valid JSON: {error.msg} at {where}") from error
    except RecursionError as error:
        raise MalformedJson(f"The body is nested more than {MAX_DEPTH} levels deep") from error
    except ValueError as error:  # more digits than Python reads
        raise MalformedJson("The body has a number too long") from error
    errors = list(islice(_problems(value, None, 1), MAX_ERRORS))
    if errors:
        raise ValidationFailed(errors=errors)
    if not isinstance(value, dict):
        raise ValidationFailed("The body must be a JSON object")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        raise MalformedJson(f"The key {_shown(counts.most_common(1)[0][0])} stands twice")
    return result


def _no_constant(name: str) -> Any:
    raise MalformedJson(f"{name} is not a JSON value")


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)

# Where a value is: the key or index, and where the object or list around it is.
_Path = tuple[str | int, Any] | None


def _problems(value: Any, path: _Path, depth: int) -> Iterator[dict[str, str]]:
    """Yield what is wrong with the value at `path` and all that is in it, one at a time."""
    if depth > MAX_DEPTH:
        raise MalformedJson(f"The body is nested more than {MAX_DEPTH} levels deep")
    if isinstance(value, dict):
        for key, inner in value.items():
            where = (key, path)
            if "$" in key or "." in key:
                yield {"field": _text(where), "message": "a key must not have '$' or '.'"}
            elif problem := _problem(key):
                yield {"field": _text(where), "message": f"as a key: {problem}"}
            yield from _problems(inner, where, depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _problems(inner, (index, path), depth + 1)
    elif problem := _problem(value):
        yield {"field": _text(path), "message": problem}


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


def _text(path: _Path) -> str:
    """A path as an error names it, such as `items.0.price`."""
    parts: list[str] = []
    while path is not None:
        part, path = path
        parts.append(_shown(str(part)))
    return ".".join(reversed(parts))


def _shown(key: str) -> str:
    """A key as an error message may repeat it."""
    return key[:60].encode("unicode_escape").decode("ascii")
