"""Answering lists."""

from typing import Any

from flask import Response

from multitenant.middleware.envelope import answer
from multitenant.repositories.model import MongoDocument
from multitenant.schemas.paging import PageQuery, cursor_after
from multitenant.schemas.payload import Answer


def answer_page(
    found: list[MongoDocument], page: PageQuery, item: type[Answer], message: str
) -> Response:
    """Answer a page of `found`, which has one item more than the page where a next one exists."""
    items = found[: page.limit]
    next_cursor = cursor_after(items[-1]) if len(found) > page.limit else None
    body: dict[str, Any] = {
        "items": [item.of(document) for document in items],
        "nextCursor": next_cursor,
    }
    return answer(body, message)
