"""Canonical Extended JSON as mongodump writes it and mongorestore reads it.

An object is a value of a BSON type only when it is that type's canonical wrapper, whole and exact.
Any other is a document: `{"$regex": "^a", "$options": "i"}` is a condition of a query, and not one
of the older ways to write a regular expression, which `bson.json_util` takes it for.

Source: https://github.com/mongodb/specifications/blob/master/source/extended-json/extended-json.md
"""

import base64
import json
from typing import Any

import bson
from bson import Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, json_util
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS
from bson.errors import BSONError

from multitenant.repositories.model import MongoDocument


def dumps(document: MongoDocument) -> str:
    """Return the document as canonical Extended JSON, from which it can nearly always be read as it
    was: see is_exact()."""
    return json_util.dumps(document, json_options=json_util.CANONICAL_JSON_OPTIONS)


def loads(text: str | bytes) -> Any:
    """Return what the canonical Extended JSON stands for. Raises ValueError for what is no JSON."""
    try:
        return json.loads(text, object_pairs_hook=_value)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_exact(text: str, document: MongoDocument) -> bool:
    """Whether `text` stands for this very document, byte for byte. It does not where a document
    looks like a wrapper, where text is not UTF-8, and for the types that PyMongo cannot write."""
    try:
        return bson.encode(loads(text)) == bson.encode(document)
    except (BSONError, ValueError, TypeError):
        return False


def _value(pairs: list[tuple[str, Any]]) -> Any:
    try:
        return _wrapped(pairs)
    except (BSONError, ValueError, ArithmeticError):  # it only looks like a wrapper
        return dict(pairs)


def _wrapped(pairs: list[tuple[str, Any]]) -> Any:  # noqa: C901  # a line for each type
    match pairs:
        case [("$oid", str(text))]:
            return ObjectId(text)
        case [("$numberInt", str(text))]:
            return int(text)
        case [("$numberLong", str(text))]:
            return Int64(text)
        case [("$numberDouble", str(text))]:
            return float(text)
        case [("$numberDecimal", str(text))]:
            return Decimal128(text)
        case [("$date", Int64() as milliseconds)]:
            return DatetimeMS(int(milliseconds))
        case [("$timestamp", {"t": int(seconds), "i": int(increment), **rest})] if not rest:
            return Timestamp(seconds, increment)
        case [("$binary", {"base64": str(data), "subType": str(subtype), **rest})] if not rest:
            return Binary(base64.b64decode(data, validate=True), int(subtype, 16))
        case [("$regularExpression", {"pattern": str(pattern), "options": str(flags), **rest})] if (
            not rest
        ):
            return Regex(pattern, flags)
        case [("$code", str(code))]:
            return Code(code)
        case [("$code", str(code)), ("$scope", dict(scope))]:
            return Code(code, scope)
        case [("$minKey", 1)]:
            return MinKey()
        case [("$maxKey", 1)]:
            return MaxKey()
    return dict(pairs)
