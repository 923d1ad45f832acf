"""Paging: every list takes `limit` and `cursor`, in the order in which its items were made."""

from dataclasses import dataclass
from typing import Any, ClassVar, Self

from pydantic import Field

from multitenant.schemas.payload import Payload
from multitenant.schemas.positions import Position


@dataclass(frozen=True, slots=True)
class Page:
    """Some items of a list, as stored, and where the next ones begin."""

    items: list[dict[str, Any]]
    next_cursor: str | None

    @classmethod
    def of(cls, items: list[dict[str, Any]], order_by: str, *, collection: str, more: bool) -> Self:
        """The page of these documents of the collection; `more` says whether others follow."""
        if not more:
            return cls(items, None)
        last = Position.of(items[-1].get(order_by), items[-1]["_id"])
        return cls(items, last.cursor(collection))

    def as_document(self) -> dict[str, Any]:
        """The page as an answer's object has it: `items` and `nextCursor`."""
        return {"items": self.items, "nextCursor": self.next_cursor}


class PageQuery(Payload):
    """The query of a list."""

    order_by: ClassVar[str] = "createdAt"
    """The stored field with the time by which the list is ordered."""

    limit: int = Field(20, ge=1, le=100, description="How many items to answer")
    cursor: str | None = Field(None, max_length=600, description="`nextCursor` of the page before")

    def after(self, collection: str) -> Position | None:
        """The position that the page of this collection starts after; None for the first page.
        Raises InvalidCursor."""
        return None if self.cursor is None else Position.read(self.cursor, collection)
