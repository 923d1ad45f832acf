"""What request bodies and answers are made of: the strict base models and field types."""

import re
import unicodedata
from datetime import UTC, datetime
from functools import cache
from typing import Annotated, Any, ClassVar, Self, get_args

from bson import ObjectId
from email_validator import EmailNotValidError, validate_email
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StringConstraints,
    TypeAdapter,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

UNSET: Any = None
"""The default of a field of `Changes` that `null` cannot remove."""
MAY_BE_ABSENT = "x-may-be-absent"
"""Marks in a schema a field that some answers do not have; see `Absent`."""
NULL_IS_DEFAULT = "x-null-is-default"
"""Marks in a schema a field of a request for which null is the same as leaving it out."""
MAX_EMAIL_LENGTH = 254
MIN_PASSWORD_LENGTH = 8
MAX_PASSWORD_BYTES = 72  # bcrypt reads no more; longer ones would be cut silently
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
BLANKS = frozenset(
    "\u115f\u1160\u3164\uffa0"  # the fillers of Hangul
    "\u2800"  # a Braille pattern without dots
    "\u303f\ufffc"  # a space of half a width, the place of an object
    "\U0001d159"  # a note without a head
    "\U00013441\U00013442"  # blanks of Egyptian
)
"""Letters and symbols, as Unicode calls them, of which nothing is seen. Everything else that a
renderer leaves out ("default ignorable") is of another category."""
NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
TIME = re.compile(r"[0-9W-]+([Tt ][0-9:.,]+([Zz]|[+-][0-9:.]+)?)?")
_SCHEMAS: dict[Any, dict[str, Any]] = {}


class Payload(BaseModel):
    """A request: camelCase names, unknown fields refused. Where a field has a default, null is the
    same as leaving it out: clients that know no difference send it."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    example: ClassVar[dict[str, Any]] = {}
    """A body that works, for the OpenAPI document; every payload with a body has one."""

    @model_validator(mode="before")
    @classmethod
    def _leave_out_nulls(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        with_default = _names_with_default(cls)
        return {
            name: value
            for name, value in sent.items()
            if value is not None or name not in with_default
        }

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """The model's schema, in which fields with a default are marked."""
        schema = handler(core_schema)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name in _names_with_default(cls) & properties.keys():
            properties[name][NULL_IS_DEFAULT] = True
        return schema

    @classmethod
    def model_json_schema(cls, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The model's schema, made once: flask-openapi3 asks for that of a query with every
        request, and making it takes half a millisecond."""
        key = (cls, args, tuple(kwargs.items()))
        if key not in _SCHEMAS:
            _SCHEMAS[key] = super().model_json_schema(*args, **kwargs)
            for field in _SCHEMAS[key].get("properties", {}).values():
                field.pop("examples", None)  # flask-openapi3 takes them for those of a parameter
        return _SCHEMAS[key]


@cache
def _names_with_default(model: type[Payload]) -> frozenset[str]:
    """The names, as callers know them, of the fields that have a default other than null."""
    return frozenset(
        field.alias or name
        for name, field in model.model_fields.items()
        if not field.is_required() and field.default is not None
        if type(None) not in get_args(field.annotation)
    )


class Headers(Payload):
    """What a route reads from the request's headers, each under its `alias`."""

    model_config = ConfigDict(extra="ignore")


class Changes(Payload):
    """A PATCH: the fields that were sent, at least one. A default says nothing about the field."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("must name at least one field to change")
        return self

    def changes(self) -> dict[str, Any]:
        """The fields that were sent, `None` included, by their Python names."""
        return {name: getattr(self, name) for name in self.model_fields_set}

    def names(self) -> list[str]:
        """The names of the fields that were sent, as the caller knows them."""
        return sorted(to_camel(name) for name in self.model_fields_set)


class Answer(BaseModel):
    """A response object: camelCase names; built from a stored document, and holding only the
    fields it declares, whatever else the document has."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        extra="ignore",
        json_schema_extra={"additionalProperties": False},
        json_schema_serialization_defaults_required=True,
    )

    @classmethod
    def of(cls, document: dict[str, Any]) -> dict[str, Any]:
        """Return `document` (as stored, `_id` included) as a JSON-ready answer."""
        return cls.model_validate(document).model_dump(by_alias=True)

    @classmethod
    def of_all(cls, documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return several documents as `of` does one, in half the time."""
        lists = _lists_of(cls)
        dumped: list[dict[str, Any]] = lists.dump_python(
            lists.validate_python(documents), by_alias=True
        )
        return dumped

    @model_validator(mode="before")
    @classmethod
    def _id_without_underscore(cls, document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "id": document["_id"]} if "_id" in document else document


@cache
def _lists_of(model: type[Answer]) -> TypeAdapter[list[Answer]]:
    return TypeAdapter(list[model])  # type: ignore[valid-type]  # known when it runs


def _normalise_email(value: Any) -> Any:
    """The one spelling of an email address that is stored and looked up."""
    if not isinstance(value, str):
        raise ValueError("must be a string")
    if len(value) > MAX_EMAIL_LENGTH:  # before anything looks at each character
        raise ValueError(f"must have at most {MAX_EMAIL_LENGTH} characters")
    try:
        # `.test` and the like are addresses too, in development
        checked = validate_email(value.strip(), check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise ValueError(f"is not an email address: {error}") from error
    return checked.normalized.lower()


def _single_line(value: str) -> str:
    if CONTROL_CHARACTERS.search(value):
        raise ValueError("must not contain control characters")
    return _visible(value)


def _text(value: str) -> str:
    if NO_TEXT.search(value):
        raise ValueError("must not contain control characters other than tabs and line ends")
    return _visible(value)


def _visible(value: str) -> str:
    if not any(unicodedata.category(it)[0] in "LNPS" and it not in BLANKS for it in value):
        raise ValueError("must have a character that can be seen")
    return value


def _iso_datetime(value: Any) -> Any:
    """Read an ISO 8601 time with an offset into UTC, to the millisecond that MongoDB keeps."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a string such as '2030-01-31T12:00:00Z'")
    try:
        if not TIME.fullmatch(value):  # Python takes anything between date and time
            raise ValueError
        moment = datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("must be an ISO 8601 time such as '2030-01-31T12:00:00Z'") from error
    if moment.tzinfo is None:
        raise ValueError("needs an offset from UTC, such as the 'Z' of '2030-01-31T12:00:00Z'")
    try:
        moment = moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("is out of range") from error
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _iso_text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


def _object_id(value: Any) -> Any:
    if isinstance(value, ObjectId):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{24}", value):
        return ObjectId(value)
    raise ValueError("must be an id of 24 hexadecimal digits")


def _new_password(password: SecretStr) -> SecretStr:
    if len(password.get_secret_value()) < MIN_PASSWORD_LENGTH:
        raise ValueError(f"must have at least {MIN_PASSWORD_LENGTH} characters")
    return password


def _password_size(password: SecretStr) -> SecretStr:
    text = password.get_secret_value()
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    if len(text.encode()) > MAX_PASSWORD_BYTES:
        raise ValueError(f"must have at most {MAX_PASSWORD_BYTES} bytes in UTF-8")
    return password


Email = Annotated[
    str,
    BeforeValidator(_normalise_email),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": 254}),
]
Line = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200),
    AfterValidator(_single_line),
]
Text = Annotated[str, AfterValidator(_text)]
"""Several lines, kept as they were written."""
Time = Annotated[
    datetime,
    BeforeValidator(_iso_datetime),
    PlainSerializer(_iso_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
Id = Annotated[
    ObjectId,
    PlainValidator(_object_id),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "pattern": "^[0-9a-fA-F]{24}$"}),
]
GivenPassword = Annotated[
    SecretStr,
    Field(min_length=1),
    AfterValidator(_password_size),
    WithJsonSchema(
        {"type": "string", "format": "password", "minLength": 1, "maxLength": MAX_PASSWORD_BYTES}
    ),
]
NewPassword = Annotated[
    SecretStr,
    AfterValidator(_new_password),
    AfterValidator(_password_size),
    WithJsonSchema(
        {
            "type": "string",
            "format": "password",
            "minLength": MIN_PASSWORD_LENGTH,
            "maxLength": MAX_PASSWORD_BYTES,
        }
    ),
]


Absent = Field(json_schema_extra={MAY_BE_ABSENT: True})
"""Annotates a field of an answer that is left out where there is nothing to say."""


class IdPath(Payload):
    """The path of one document."""

    id: Id
