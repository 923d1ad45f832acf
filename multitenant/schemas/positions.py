"""Where an item stands in a list, and the cursor that stands for it.

Lists are ordered by a time, and among those of one time by id. A document may have something else
where the time belongs, or nothing, and MongoDB orders such values by their types first. So does a
position: what comes after it is of a later type, or of the same type and greater.
"""

import base64
import binascii
import math
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import bson
from bson import Code, DBRef, Decimal128, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from multitenant.errors import InvalidCursor

LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
"""Decodes whatever MongoDB may store: a date beyond year 9999 is a DatetimeMS, bytes that are not
UTF-8 become U+FFFD."""

MAX_VALUE_BYTES = 256
"""The largest value that a cursor holds. After a larger text, those that begin as it does are left
out of the next page; after anything else that is larger, the others of its type."""
MAX_TEXT = 50
BEHIND_ALL_TEXTS = "\U0010ffff"

# MongoDB's order of types, as names for `$type`, and the Python types of values that compare
# within them. https://www.mongodb.com/docs/manual/reference/bson-type-comparison-order/
ORDER: tuple[tuple[tuple[str, ...], tuple[type, ...]], ...] = (
    (("minKey",), (MinKey,)),
    (("null", "undefined"), (type(None),)),
    (("number",), (int, float, Decimal128)),
    (("string", "symbol"), (str,)),
    (("object",), (dict, DBRef)),
    ((), ()),  # arrays, which are left out
    (("binData",), (bytes,)),
    (("objectId",), (ObjectId,)),
    (("bool",), (bool,)),
    (("date",), (datetime, DatetimeMS)),
    (("timestamp",), (Timestamp,)),
    (("regex",), (Regex,)),
    (("dbPointer", "javascript", "javascriptWithScope"), (Code,)),
    (("maxKey",), (MaxKey,)),
)
NULL, LAST = 1, len(ORDER) - 1
NOT_COMPARED = (MinKey, type(None), Regex, MaxKey)


@dataclass(frozen=True, slots=True)
class Position:
    """Where an item stands in a list: by a value (its time), and by its id among those of one
    value."""

    value: Any
    id: ObjectId
    last_of_type: bool = False
    """Whether it counts as the last of all values of this type."""

    @classmethod
    def of(cls, value: Any, object_id: ObjectId) -> Self:
        """Return the position of a document with that value and id."""
        if isinstance(value, list):  # it is ordered by its least element
            value = min(value, key=_rank, default=None)
        if len(bson.encode({"v": value})) <= MAX_VALUE_BYTES:
            return cls(value, object_id)
        if type(value) is str:
            return cls(value[:MAX_TEXT] + BEHIND_ALL_TEXTS, object_id)
        empty = b"" if isinstance(value, bytes) else {}
        return cls(empty, object_id, last_of_type=True)

    @classmethod
    def read(cls, cursor: str, collection: str) -> Self:
        """Return the position that a cursor of a list of this collection stands for; raises
        InvalidCursor, also for one of another's."""
        try:
            raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
            parts = bson.decode(raw, LENIENT)
            mark, value, object_id = parts["m"], parts["v"], parts["i"]
        except (binascii.Error, ValueError, KeyError, BSONError) as error:
            raise InvalidCursor() from error
        if mark != _mark(collection) or type(object_id) is not ObjectId:
            raise InvalidCursor()
        return cls(value, object_id, last_of_type="l" in parts and value in ({}, b""))

    def cursor(self, collection: str) -> str:
        """The cursor that stands for it in lists of this collection, opaque to clients."""
        parts = {"m": _mark(collection), "v": self.value, "i": self.id}
        if self.last_of_type:
            parts["l"] = True
        return base64.urlsafe_b64encode(bson.encode(parts)).decode()

    def query_beyond(self, field: str, *, newest_first: bool) -> dict[str, Any]:
        """The query for what comes after it in a list that is ordered by this field and the id,
        but where the value is an array."""
        rank, operator = _rank(self.value), "$lt" if newest_first else "$gt"
        others = ORDER[:rank] if newest_first else ORDER[rank + 1 :]
        conditions: list[dict[str, Any]] = []
        if not self.last_of_type:
            conditions.append({field: {"$eq": self.value}, "_id": {operator: self.id}})
            if _is_nan(self.value):  # the least number, which compares with none
                conditions += [] if newest_first else [{field: {"$gte": float("-inf")}}]
            elif not isinstance(self.value, NOT_COMPARED):
                conditions.append({field: {operator: self.value}})
        if names := [name for names, _ in others for name in names]:
            conditions.append({field: {"$type": names}})
        if newest_first and rank > NULL:
            conditions.append({field: None})  # also where it is missing
        # One whose value is an array stands at its least element, and would fit with each other.
        return {"$or": conditions, "$expr": {"$not": [{"$isArray": [f"${field}"]}]}}


def _is_nan(value: Any) -> bool:
    if isinstance(value, Decimal128):
        return bool(value.to_decimal().is_nan())
    return isinstance(value, float) and math.isnan(value)


def _rank(value: Any) -> int:
    """The place of the value's type in ORDER."""
    exact = [rank for rank, (_, types) in enumerate(ORDER) if type(value) in types]
    broad = [rank for rank, (_, types) in enumerate(ORDER) if isinstance(value, types)]
    return (exact or broad or [LAST])[0]


def _mark(collection: str) -> int:
    return zlib.crc32(collection.encode())
