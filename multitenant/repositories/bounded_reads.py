"""Reading documents of any shape and size, in bounded memory.

Documents are counted in bytes before they are decoded: in Python they may take thirty times as
much. Whatever is in one, decoding it does not fail (see LENIENT).
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import bson
from bson.codec_options import CodecOptions
from bson.errors import InvalidBSON
from bson.raw_bson import RawBSONDocument

from multitenant.schemas.positions import LENIENT

BATCH_DOCUMENTS = 26
"""How many documents one command answers at most: so many of the largest that the API makes are
some megabytes, and a page of the usual length is one command."""
PAGE_BYTES = 2**20
"""A page ends before the document that would make it larger than this."""
DOCUMENT_BYTES = 2 * 2**20
"""Of a larger document only fields of less than FIELD_BYTES are decoded, and no more of them than
have this size together."""
FIELD_BYTES = 64 * 2**10


class Reply(RawBSONDocument):
    """A reply of MongoDB's to a command, not decoded. PyMongo writes the reply's error labels into
    the write concern error in it, and so expects a dict there."""

    def __getitem__(self, name: str) -> Any:
        """Return the field of that name."""
        value = super().__getitem__(name)
        return dict(value) if name == "writeConcernError" else value


RAW: CodecOptions[RawBSONDocument] = LENIENT.with_options(document_class=Reply)
_LENGTH = struct.Struct("<i")
# Of the types of BSON, by https://bsonspec.org/spec.html: how many bytes a value of one has, and
# how many there are beside the length that a value of another begins with.
_FIXED = {0x01: 8, 0x06: 0, 0x07: 12, 0x08: 1, 0x09: 8, 0x0A: 0, 0x10: 4, 0x11: 8, 0x12: 8}
_FIXED |= {0x13: 16, 0x7F: 0, 0xFF: 0}
_BESIDE_LENGTH = {0x02: 4, 0x03: 0, 0x04: 0, 0x05: 5, 0x0C: 16, 0x0D: 4, 0x0E: 4, 0x0F: 0}
_REGEX = 0x0B


class Field(NamedTuple):
    """A field of a document, by where it is in it."""

    name: str
    start: int
    value: int
    """Where its value begins."""
    end: int


def decode(raw: bytes) -> dict[str, Any]:
    """Return the document. In one that is larger than DOCUMENT_BYTES, a text that says how large
    it is stands for each large field, and what follows the first that are decoded is left out."""
    if len(raw) <= DOCUMENT_BYTES:
        return bson.decode(raw, LENIENT)
    document: dict[str, Any] = {}
    left = DOCUMENT_BYTES
    for field in fields(raw):
        size = field.end - field.start
        large = size >= FIELD_BYTES
        left -= len(field.name) if large else size
        if left < 0:
            break
        if large:
            document[field.name] = f"({size} bytes, too many to be shown)"
        else:
            document.update(bson.decode(_document(raw[field.start : field.end]), LENIENT))
    return document


def read_page(
    batches: Iterable[Any], limit: int, *, size: int = PAGE_BYTES
) -> tuple[list[dict[str, Any]], bool]:
    """Return the first documents of a raw cursor: `limit` of them, or as many as have `size` bytes
    together, but one at least; and whether there is one more."""
    documents: list[dict[str, Any]] = []
    for raw in split(batches):
        size -= len(raw)
        if len(documents) == limit or (documents and size < 0):
            return documents, True
        documents.append(decode(raw))
    return documents, False


def split(batches: Iterable[Any]) -> Iterator[bytes]:
    """Go through the documents of a raw cursor, undecoded."""
    for batch in batches:
        start = 0
        while start < len(batch):
            (length,) = _LENGTH.unpack_from(batch, start)
            yield batch[start : start + length]
            start += length


def fields(raw: bytes | bytearray, at: int = 0) -> Iterator[Field]:
    """Go through the fields of the document that begins at that place. Raises InvalidBSON for what
    is no document."""
    start = at + _LENGTH.size
    try:
        while raw[start]:
            name_end = raw.index(0, start + 1)
            end = _end_of_value(raw, raw[start], name_end + 1)
            if not name_end < end < len(raw):
                raise ValueError("a field ends where it cannot")
            name = raw[start + 1 : name_end].decode(errors="replace")
            yield Field(name, start, name_end + 1, end)
            start = end
    except (LookupError, ValueError, struct.error) as error:
        raise InvalidBSON(f"not a document: {error}") from error


def _end_of_value(raw: bytes | bytearray, kind: int, start: int) -> int:
    if kind in _FIXED:
        return start + _FIXED[kind]
    if kind == _REGEX:
        return raw.index(0, raw.index(0, start) + 1) + 1
    (length,) = _LENGTH.unpack_from(raw, start)
    return start + int(length) + _BESIDE_LENGTH[kind]


def _document(element: bytes) -> bytes:
    return _LENGTH.pack(_LENGTH.size + len(element) + 1) + element + b"\x00"
