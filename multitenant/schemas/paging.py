"""Paging: every list takes `limit` and `cursor`, in the order of ids."""

import base64
import binascii
from typing import Any

from bson import ObjectId
from pydantic import Field

from multitenant.errors import InvalidCursor
from multitenant.schemas.payload import Payload


class PageQuery(Payload):
    """The query of a list."""

    limit: int = Field(20, ge=1, le=100, description="How many items to answer")
    cursor: str | None = Field(None, max_length=200, description="`nextCursor` of the page before")

    def after(self) -> ObjectId | None:
        """The id that the page starts after; None for the first page. Raises InvalidCursor."""
        if self.cursor is None:
            return None
        try:
            raw = base64.b64decode(self.cursor.encode("ascii"), altchars=b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError, ValueError) as error:
            raise InvalidCursor() from error
        if len(raw) != 12:
            raise InvalidCursor()
        return ObjectId(raw)


def cursor_after(document: dict[str, Any]) -> str:
    """The cursor of the page that starts after `document`. Opaque to clients."""
    return base64.urlsafe_b64encode(document["_id"].binary).decode()
