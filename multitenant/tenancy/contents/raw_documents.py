"""Documents as they are stored, byte for byte, and which they are.

Nothing is decoded that need not be: a date beyond the year 9999, text that is not UTF-8 and types
that PyMongo does not know go from one database to the other as they are.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from bson.codec_options import CodecOptions, DatetimeConversion
from bson.raw_bson import RawBSONDocument
from pymongo.collection import Collection

from multitenant.errors import BackupError
from multitenant.repositories.model import MongoDatabase

BATCH_BYTES = 4 * 2**20
BATCH_DOCUMENTS = 5000
STEP_SECONDS = 60.0
"""For what never takes long, unless a server is down: some megabytes, or dropping a database."""
IDS = 200
"""Looked up at a time, where their documents may be of any size."""
RAW: CodecOptions[RawBSONDocument] = CodecOptions(
    document_class=RawBSONDocument,
    datetime_conversion=DatetimeConversion.DATETIME_MS,
    unicode_decode_error_handler="replace",
)
"""Documents stay bytes until a field is asked for; then no value of it raises."""
STRICT = RAW.with_options(unicode_decode_error_handler="strict")
"""The same, but what is not UTF-8 raises."""
DOCUMENT, ARRAY, TIMESTAMP = 0x03, 0x04, 0x11
FIXED_SIZES = {
    **dict.fromkeys((0x06, 0x0A, 0x7F, 0xFF), 0),
    **dict.fromkeys((0x01, 0x09, TIMESTAMP, 0x12), 8),
    0x07: 12,
    0x08: 1,
    0x10: 4,
    0x13: 16,
}
"""Bytes of a value by its type. Source: https://bsonspec.org/spec.html"""
SIZES_BEYOND_LENGTH = {
    **dict.fromkeys((0x02, 0x0D, 0x0E), 4),
    **dict.fromkeys((DOCUMENT, ARRAY, 0x0F), 0),
    0x05: 5,
    0x0C: 16,
}
"""How much longer a value is than the length that it begins with."""
REGULAR_EXPRESSION = 0x0B

Documents = dict[str, dict[bytes, bytes]]
"""By collection: the `_id` of each document, by itself (see id_of())."""


def decoded_leniently(db: MongoDatabase) -> MongoDatabase:
    """Return the database, in which no value raises: a date that Python does not have is a
    DatetimeMS, and text that is not UTF-8 has U+FFFD in it."""
    return db.with_options(
        codec_options=db.codec_options.with_options(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO,
            unicode_decode_error_handler="replace",
        )
    )


def raw_collection(db: MongoDatabase, name: str) -> Collection[Any]:
    """Return the collection, whose documents are not decoded."""
    return db.get_collection(name, codec_options=RAW)


def in_batches(documents: Iterable[bytes]) -> Iterator[list[RawBSONDocument]]:
    """Go through the documents, some megabytes at a time."""
    batch: list[RawBSONDocument] = []
    size = 0
    for document in documents:
        batch.append(RawBSONDocument(document, RAW))
        size += len(document)
        if size >= BATCH_BYTES or len(batch) == BATCH_DOCUMENTS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def in_id_batches(ids: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Go through ids, so many at a time that their documents can be looked up."""
    batch: list[bytes] = []
    size = 0
    for one in ids:
        if batch and (len(batch) == IDS or size + len(one) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += len(one)
    if batch:
        yield batch


def id_of(document: RawBSONDocument) -> bytes:
    """Return the document's `_id`, its type first: what tells it from any other. Raises BackupError
    for a document without one."""
    for kind, name, value in _elements(document):
        if name == b"_id":
            return bytes([kind]) + value
    raise BackupError("There is a document without an _id")


def with_ids(ids: Iterable[bytes]) -> RawBSONDocument:
    """Return a query for the documents with these `_id`s."""
    array = _document(
        _element(one[0], str(index).encode(), one[1:]) for index, one in enumerate(ids)
    )
    condition = _document([_element(ARRAY, b"$in", array)])
    return RawBSONDocument(_document([_element(DOCUMENT, b"_id", condition)]), RAW)


def has_zero_timestamp(document: RawBSONDocument) -> bool:
    """Whether a field of the document, which is sound, is Timestamp(0, 0). Those of nested ones and
    the `_id` do not count: MongoDB leaves them alone."""
    raw = bytes(document.raw)
    if TIMESTAMP not in raw or bytes(9) not in raw:  # nearly all
        return False
    zero = (TIMESTAMP, bytes(8))
    return any(
        (kind, value) == zero and name != b"_id" for kind, name, value in _elements(document)
    )


def _elements(document: RawBSONDocument) -> Iterator[tuple[int, bytes, bytes]]:
    """Go through the fields of the document: type, name and value."""
    raw = bytes(document.raw)
    at, end = 4, len(raw) - 1
    while at < end:
        kind = raw[at]
        value_at = raw.index(0, at + 1) + 1
        after = value_at + _size_of_value(raw, kind, value_at)
        yield kind, raw[at + 1 : value_at - 1], raw[value_at:after]
        at = after


def _size_of_value(raw: bytes, kind: int, at: int) -> int:
    if kind in FIXED_SIZES:
        return FIXED_SIZES[kind]
    if kind == REGULAR_EXPRESSION:  # two texts that end with NUL
        return raw.index(0, raw.index(0, at) + 1) + 1 - at
    length = int.from_bytes(raw[at : at + 4], "little")
    return length + SIZES_BEYOND_LENGTH[kind]


def _element(kind: int, name: bytes, value: bytes) -> bytes:
    return bytes([kind]) + name + b"\0" + value


def _document(elements: Iterable[bytes]) -> bytes:
    content = b"".join(elements)
    return (len(content) + 5).to_bytes(4, "little") + content + b"\0"
