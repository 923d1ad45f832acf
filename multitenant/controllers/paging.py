"""Answering lists."""

from flask import Response

from multitenant.middleware.envelope import answer
from multitenant.schemas.paging import Page
from multitenant.schemas.stored import StoredAnswer


def answer_page(page: Page, item: type[StoredAnswer], message: str) -> Response:
    """Answer a page, each item in the shape of `item`."""
    body = {**page.as_document(), "items": item.of_all(page.items)}
    return answer(body, message)
