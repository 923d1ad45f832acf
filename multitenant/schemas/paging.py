"""Paging: every list takes `limit` and `cursor`, in the order in which its items were made."""

import base64
import binascii
import struct
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from bson import ObjectId
from pydantic import Field

from multitenant.errors import InvalidCursor
from multitenant.schemas.payload import Payload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CURSOR = struct.Struct(">Iq12s")
"""A mark of the list, milliseconds, an id."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where an item stands in a list: by its time, and by its id among those of one time."""

    time: datetime
    id: ObjectId

    @classmethod
    def read(cls, cursor: str, collection: str) -> Self:
        """Return the position that a cursor of a list of this collection stands for; raises
        InvalidCursor, also for one of another's."""
        try:
            raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
            mark, milliseconds, object_id = CURSOR.unpack(raw)
            time = EPOCH + timedelta(milliseconds=milliseconds)
        except (binascii.Error, ValueError, struct.error, OverflowError) as error:
            raise InvalidCursor() from error
        if mark != _mark(collection):
            raise InvalidCursor()
        return cls(time, ObjectId(object_id))

    def cursor(self, collection: str) -> str:
        """The cursor that stands for it in lists of this collection, opaque to clients."""
        milliseconds = (self.time - EPOCH) // timedelta(milliseconds=1)
        raw = CURSOR.pack(_mark(collection), milliseconds, self.id.binary)
        return base64.urlsafe_b64encode(raw).decode()


def _mark(collection: str) -> int:
    return zlib.crc32(collection.encode())


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a list, as stored, and where the next ones begin."""

    items: list[dict[str, Any]]
    next_cursor: str | None

    @classmethod
    def of(cls, found: list[dict[str, Any]], limit: int, order_by: str, *, collection: str) -> Self:
        """The page of the first `limit` documents, which are of this collection. Whoever looks for
        one more than that learns whether others follow."""
        items = found[:limit]
        if len(found) == len(items):
            return cls(items, None)
        return cls(items, Position(items[-1][order_by], items[-1]["_id"]).cursor(collection))

    def as_document(self) -> dict[str, Any]:
        """The page as an answer's object has it: `items` and `nextCursor`."""
        return {"items": self.items, "nextCursor": self.next_cursor}


class PageQuery(Payload):
    """The query of a list."""

    order_by: ClassVar[str] = "createdAt"
    """The stored field with the time by which the list is ordered."""

    limit: int = Field(20, ge=1, le=100, description="How many items to answer")
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before")

    def after(self, collection: str) -> Position | None:
        """The position that the page of this collection starts after; None for the first page.
        Raises InvalidCursor."""
        return None if self.cursor is None else Position.read(self.cursor, collection)
