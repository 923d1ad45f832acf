"""Decoding documents of any size."""

from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.datetime_ms import DatetimeMS

from multitenant.repositories import bounded_reads
from multitenant.repositories.bounded_reads import decode, read_page, split

SMALL: dict[str, Any] = {
    "double": 1.5,
    "string": "text",
    "object": {"a": 1},
    "array": [1, "x"],
    "binary": Binary(b"x", 5),
    "id": ObjectId(),
    "true": True,
    "date": datetime(2026, 1, 1, tzinfo=UTC),
    "far date": DatetimeMS(2**62),
    "null": None,
    "regex": Regex("a", 2),
    "code": Code("x"),
    "scoped": Code("x", {"a": 1}),
    "int": 5,
    "timestamp": Timestamp(1, 2),
    "long": Int64(5),
    "decimal": Decimal128("1.5"),
    "least": MinKey(),
    "greatest": MaxKey(),
    "": "a field without a name",
}
HUGE = "x" * 100_000


def test_each_small_field_of_a_huge_document_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_reads, "DOCUMENT_BYTES", 1_000)
    for position in range(len(SMALL) + 1):
        fields = list(SMALL.items())
        fields.insert(position, ("huge", [HUGE]))
        decoded = decode(bson.encode(dict(fields)))
        assert list(decoded) == [name for name, _ in fields]
        assert "too many to be shown" in decoded.pop("huge")
        assert decoded == SMALL


def test_a_page_ends_before_it_is_too_large() -> None:
    documents = [{"_id": number, "text": "x" * 100} for number in range(10)]
    raw = [bson.encode(document) for document in documents]
    batches = [b"".join(raw[:3]), b"", b"".join(raw[3:])]
    assert list(split(batches)) == raw
    size = len(raw[0])
    assert read_page(batches, 10) == (documents, False)
    assert read_page(batches, 9) == (documents[:9], True)
    assert read_page(batches, 10, size=4 * size) == (documents[:4], True)
    assert read_page(batches, 10, size=4 * size - 1) == (documents[:3], True)
    assert read_page(batches, 10, size=1) == (documents[:1], True)
    assert read_page(batches[:1], 1, size=1) == (documents[:1], True)
    assert read_page([raw[0]], 1, size=1) == (documents[:1], False)
    assert read_page([], 1) == ([], False)
