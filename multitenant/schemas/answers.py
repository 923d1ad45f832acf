"""The shapes of successful answers, for the OpenAPI document.

`responses=ok(TodoAnswer)` on a route says that it answers 200 with a to-do item in the envelope.
"""

from functools import cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model
from pydantic.alias_generators import to_camel

from multitenant.schemas.payload import Answer

Responses = dict[str | int | Any, Any]


class Nothing(Answer):
    """An empty object."""


def ok(answer: type[Answer]) -> Responses:
    """The responses of a route that answers 200 with this object."""
    return {200: envelope(answer, 200)}


def created(answer: type[Answer]) -> Responses:
    """The responses of a route that answers 201 with the object it has made."""
    return {201: envelope(answer, 201)}


def page_of(answer: type[Answer]) -> Responses:
    """The responses of a route that answers a page of such objects."""
    return {200: envelope(_page(answer), 200)}


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
