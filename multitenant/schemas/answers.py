"""The shapes of successful answers, for the OpenAPI document.

`responses=ok(TodoAnswer)` on a route says that it answers 200 with a to-do item in the envelope.
"""

import inspect
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler, create_model
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema
from typing_extensions import TypeAliasType

from multitenant.errors import error_codes
from multitenant.schemas.payload import Absent, Answer

Responses = dict[str | int | Any, Any]


class _ErrorCodes:
    """Those that there are when the document is made: each error class has one."""

    @staticmethod
    def __get_pydantic_json_schema__(_: CoreSchema, __: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "enum": error_codes()}


ErrorCode = TypeAliasType("ErrorCode", Annotated[str, _ErrorCodes])


class FieldError(Answer):
    """What is wrong with a field, named by its path: `items.0.price`."""

    field: str
    message: str


class ErrorDetails(Answer):
    """What a program needs to know of an error."""

    code: ErrorCode
    request_id: str
    incorrect_field: Annotated[str, Absent] = ""
    errors: Annotated[list[FieldError], Absent] = []


class Error(Answer):
    """Why a request was refused, or failed."""

    success: Literal[False]
    status_code: int
    message: str
    response_object: ErrorDetails


class Nothing(Answer):
    """An empty object."""


def ok(answer: type[Answer]) -> Responses:
    """The responses of a route that answers 200 with this object."""
    return _declared(200, envelope(answer, 200), answer)


def created(answer: type[Answer]) -> Responses:
    """The responses of a route that answers 201 with the object it has made."""
    return _declared(201, envelope(answer, 201), answer)


def page_of(answer: type[Answer]) -> Responses:
    """The responses of a route that answers a page of such objects."""
    return _declared(200, envelope(_page(answer), 200), answer, before="A page of: ")


def _declared(
    status: int, model: type[BaseModel], answer: type[Answer], *, before: str = ""
) -> Responses:
    """The response with a model, described by the first sentence of the answer's docstring."""
    told = (inspect.getdoc(answer) or "Success").partition("\n\n")[0].replace("\n", " ")
    return {status: {"description": before + told, "model": model}}


@cache
def envelope(answer: type[BaseModel], status: int) -> type[BaseModel]:
    """The model of the envelope around the object."""
    return create_model(
        f"{answer.__name__}{'Created' if status == 201 else ''}Envelope",
        __config__=ConfigDict(alias_generator=to_camel, extra="forbid"),
        success=(Literal[True], ...),
        status_code=(Literal[status], ...),  # type: ignore[arg-type]  # known at run time
        message=(str, ...),
        response_object=(answer, ...),
    )


@cache
def _page(answer: type[Answer]) -> type[BaseModel]:
    return create_model(
        f"{answer.__name__.removesuffix('Answer')}Page",
        __config__=ConfigDict(alias_generator=to_camel, extra="forbid"),
        items=(list[answer], ...),  # type: ignore[valid-type]  # a model that is made at run time
        next_cursor=(str | None, ...),
    )
