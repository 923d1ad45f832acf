"""Documents that no server of MongoDB's would store, and documents of very many fields, are read in
bounded time and memory."""

import struct
from typing import Any

import bson
import pytest
from bson.errors import InvalidBSON

from multitenant.repositories.bounded_reads import DOCUMENT_BYTES, FIELD_BYTES, decode, fields

EMPTY_OBJECTS: list[dict[str, Any]] = [{}] * ((FIELD_BYTES - 1000) // 12)


def test_what_is_decoded_of_many_fields_is_bounded_together() -> None:
    raw = bson.encode({"_id": 1} | {f"f{number}": EMPTY_OBJECTS for number in range(200)})
    assert len(raw) > 5 * DOCUMENT_BYTES
    decoded = decode(raw)
    assert decoded["_id"] == 1
    assert len(bson.encode(decoded)) <= DOCUMENT_BYTES + 100


def test_as_many_large_fields_are_told_of_only() -> None:
    large = "x" * FIELD_BYTES
    decoded = decode(bson.encode({str(number): large for number in range(200)}))
    assert all("too many to be shown" in value for value in decoded.values())


def with_length(length: int) -> bytes:
    """A document with a text of that length in front of other fields."""
    text = b"\x02a\x00" + struct.pack("<i", length) + b"x\x00"
    rest = b"\x10b\x00\x01\x00\x00\x00\x00"
    return struct.pack("<i", 4 + len(text) + len(rest)) + text + rest


@pytest.mark.parametrize(
    "raw",
    [
        *map(with_length, (-7, -8, -(2**31), 2**31 - 1, 100)),
        b"\x05\x00\x00\x00",
        b"\x08\x00\x00\x00\x10a\x00",
        b"\x08\x00\x00\x00\x99a\x00\x00",
        b"\x08\x00\x00\x00\x10aaa",
    ],
    ids=repr,
)
def test_what_is_no_document_is_said_to_be_none(raw: bytes) -> None:
    with pytest.raises(InvalidBSON):
        list(fields(raw))


def test_the_fields_of_each_type_end_where_they_should() -> None:
    values: list[Any] = [1.5, "x", {"a": 1}, [1, "x"], b"x", True, None, 7, 2**40]
    document = {str(number): value for number, value in enumerate(values)}
    raw = bson.encode(document)
    for at, whole in ((0, raw), (7, b"before " + raw)):
        found = list(fields(whole, at))
        assert [field.name for field in found] == [*document]
        assert sum(field.end - field.start for field in found) == len(raw) - 5
