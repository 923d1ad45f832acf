"""Settings: the stored document, payloads and answers. A value is any JSON."""

import math
import re
from typing import Annotated, Any

import orjson
from mongoengine import StringField
from mongoengine.base import BaseField
from pydantic import AfterValidator, Field, JsonValue

from multitenant.schemas.document import DatedDocument
from multitenant.schemas.payload import Payload, Time
from multitenant.schemas.stored import Json, StoredAnswer

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,99}", re.ASCII)
MAX_VALUE_BYTES = 65_536
MAX_VALUES = 10_000
"""How many values one may hold, those in objects and lists counted: each takes a hundred bytes or
so of memory, though it may have two as JSON."""


def _bounded(value: Any) -> Any:
    if len(orjson.dumps(value)) > MAX_VALUE_BYTES:
        raise ValueError(f"must have at most {MAX_VALUE_BYTES} bytes as JSON")
    pending, count = [value], 0
    while pending:
        inner = pending.pop()
        count += 1
        if isinstance(inner, dict):
            pending += inner.values()
        elif isinstance(inner, list):
            pending += inner
        elif isinstance(inner, float) and not math.isfinite(inner):
            raise ValueError("must not have numbers that are not finite")
    if count > MAX_VALUES:
        raise ValueError(f"must have at most {MAX_VALUES} values, counting those inside")
    return value


class JsonField(BaseField):  # type: ignore[misc]  # MongoEngine has no type hints
    """Any JSON, stored as it came. (A DynamicField takes an object with the key `_cls` for a
    document class.)"""

    def validate(self, value: Any, clean: bool = True) -> None:
        """Complain about a value that is too large, or no JSON."""
        try:
            _bounded(value)
        except (ValueError, TypeError) as error:
            self.error(str(error))


class SettingDocument(DatedDocument):
    """A setting as the tenant's database keeps it."""

    meta = {
        "collection": "settings",
        "indexes": [["created_at", "_id"], {"fields": ["key"], "unique": True}],
    }

    key = StringField(required=True, regex=KEY, max_length=100)
    value = JsonField(null=True)


def _key(value: str) -> str:
    if not KEY.fullmatch(value):
        raise ValueError(
            "must have 1 to 100 letters, digits, '.', '_', ':' and '-', and begin with one of the"
            " first two"
        )
    return value


class SettingPath(Payload):
    """The path of one setting."""

    key: Annotated[str, AfterValidator(_key)] = Field(
        json_schema_extra={"pattern": f"^{KEY.pattern}$"}
    )


class NewValue(Payload):
    """What a setting is set to."""

    example = {"value": {"colour": "red"}}

    value: Annotated[JsonValue, AfterValidator(_bounded)] = Field(examples=[{"colour": "red"}])


class SettingAnswer(StoredAnswer):
    """A setting."""

    key: str
    value: Json
    created_at: Time
    updated_at: Time
