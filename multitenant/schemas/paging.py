"""Paging: every list takes `limit` and `cursor`, in the order in which its items were made."""

import base64
import binascii
import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Self

from bson import ObjectId
from pydantic import Field

from multitenant.errors import InvalidCursor
from multitenant.schemas.payload import Payload

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CURSOR = struct.Struct(">q12s")


@dataclass(frozen=True, slots=True)
class Position:
    """Where an item stands in a list: by its time, and by its id among those of one time."""

    time: datetime
    id: ObjectId

    @classmethod
    def read(cls, cursor: str) -> Self:
        """Return the position that a cursor stands for; raises InvalidCursor."""
        try:
            raw = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
            milliseconds, object_id = CURSOR.unpack(raw)
            return cls(EPOCH + timedelta(milliseconds=milliseconds), ObjectId(object_id))
        except (binascii.Error, ValueError, struct.error, OverflowError) as error:
            raise InvalidCursor() from error

    def cursor(self) -> str:
        """The cursor that stands for it, opaque to clients."""
        milliseconds = (self.time - EPOCH) // timedelta(milliseconds=1)
        return base64.urlsafe_b64encode(CURSOR.pack(milliseconds, self.id.binary)).decode()


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a list, as stored, and where the next ones begin."""

    items: list[dict[str, Any]]
    next_cursor: str | None

    @classmethod
    def of(cls, found: list[dict[str, Any]], limit: int, order_by: str) -> Self:
        """The page of the first `limit` documents. Whoever looks for one more than that learns
        whether others follow."""
        items = found[:limit]
        if len(found) == len(items):
            return cls(items, None)
        return cls(items, Position(items[-1][order_by], items[-1]["_id"]).cursor())

    def as_document(self) -> dict[str, Any]:
        """The page as an answer's object has it: `items` and `nextCursor`."""
        return {"items": self.items, "nextCursor": self.next_cursor}


class PageQuery(Payload):
    """The query of a list."""

    order_by: ClassVar[str] = "createdAt"
    """The stored field with the time by which the list is ordered."""

    limit: int = Field(20, ge=1, le=100, description="How many items to answer")
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before")

    def after(self) -> Position | None:
        """The position that the page starts after; None for the first page. Raises
        InvalidCursor."""
        return None if self.cursor is None else Position.read(self.cursor)
