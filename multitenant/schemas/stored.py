"""Answers that are made of stored documents, which may be of any shape: what is in a tenant's
database was not all written by this release, nor all by this platform."""

from typing import Annotated, Any

from bson.json_util import RELAXED_JSON_OPTIONS, default
from pydantic import PlainSerializer, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from multitenant.schemas.payload import Answer


class StoredAnswer(Answer):
    """A stored document. A field that is missing there, or whose value is not of its type, is
    null; so all fields but the id may be."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if name != "id":
                typed: Any = field.annotation
                if field.metadata:
                    typed = Annotated[(typed, *field.metadata)]
                field.annotation, field.metadata = typed | None, []
        cls.model_rebuild(force=True)

    @classmethod
    def of(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Return `document` (as stored, `_id` included) as a JSON-ready answer."""
        try:
            return super().of(document)
        except ValidationError as error:
            return super().of(_with_nulls(document, error))

    @classmethod
    def of_all(cls, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return several documents as `of` does one, in half the time."""
        try:
            return super().of_all(documents)
        except ValidationError as error:
            return super().of_all(_with_nulls(documents, error))


def _or_null(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    try:
        return read(value)
    except ValidationError:
        return None


OrNull = WrapValidator(_or_null)
"""Annotates a stored value in an answer that is made of more than one document: null where it is
not of its type."""


def _with_nulls(value: Any, error: ValidationError) -> Any:
    """The value, with null wherever the error says that something is missing or wrong."""
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = problem["loc"]
        while path and isinstance(path[-1], int):  # only fields may be null
            path = path[:-1]
        value = _with_null(value, path)
    return value


def _with_null(value: Any, path: tuple[int | str, ...]) -> Any:
    if not path or not isinstance(value, dict | list):
        return None
    copy: Any = value.copy()
    here, rest = path[0], path[1:]
    copy[here] = _with_null(copy[here], rest) if rest else None
    return copy


def _as_json(value: Any) -> Any:
    """The value with what JSON lacks as MongoDB's relaxed Extended JSON has it."""
    if value is None or type(value) in (str, bool, int):
        return value
    if isinstance(value, dict):
        return {key: _as_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_json(inner) for inner in value]
    extended = default(value, RELAXED_JSON_OPTIONS)
    return _as_json(extended) if isinstance(extended, dict | list) else extended


Json = Annotated[Any, PlainSerializer(_as_json)]
"""Any stored value. See
https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md"""
