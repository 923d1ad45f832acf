"""The rules of orders. They are not changed once they are placed."""

from decimal import Decimal

from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, MongoDocument, shorten
from multitenant.repositories.tenant.orders import find_items, insert_order, orders
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.orders import NewOrder, OrderDocument


def place_order(db: MongoDatabase, new: NewOrder) -> MongoDocument:
    """Create an order with all its items, or nothing."""
    total = sum((item.amount for item in new.items), Decimal("0.00"))
    return insert_order(db, [dict(item) for item in new.items], total)


def list_orders(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of orders with their items, oldest first; it ends earlier where the items are
    many bytes."""
    return _with_items(db, orders.find_page(db, query))


def get_order(db: MongoDatabase, order_id: ObjectId) -> MongoDocument:
    """Return the order with its items; raises NotFound."""
    return _with_items(db, Page([orders.get(db, order_id)], None)).items[0]


def _with_items(db: MongoDatabase, page: Page) -> Page:
    items = find_items(db, [order["_id"] for order in page.items])
    shown = shorten(page, len(items), OrderDocument)
    found = zip(shown.items, items, strict=True)
    return Page([{**order, "items": of_order} for order, of_order in found], shown.next_cursor)
