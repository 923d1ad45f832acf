"""Orders and their items in a tenant's database."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import takewhile
from typing import Any

from bson import ObjectId

from multitenant.repositories.bounded_reads import read_page
from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.resource import Resource
from multitenant.repositories.transactions import in_transaction
from multitenant.schemas.tenant.orders import MAX_ITEMS, OrderDocument, OrderItemDocument

BATCH_ITEMS = 1_000
"""How many items one command answers at most; each has less than a kilobyte."""

orders = Resource(OrderDocument, "order")


def insert_order(
    db: MongoDatabase, items: Iterable[Mapping[str, Any]], total: Decimal
) -> MongoDocument:
    """Insert an order and its items in one transaction, and return it with them."""
    now = utc_now()
    lines = [
        {**item, "position": position, "created_at": now, "updated_at": now}
        for position, item in enumerate(items)
    ]

    def insert() -> MongoDocument:
        order = orders.insert(db, total=total)
        written = _items(db).insert_all({**line, "order_id": order["_id"]} for line in lines)
        return {**order, "items": written}

    return in_transaction(db, insert)


def find_items(db: MongoDatabase, order_ids: list[ObjectId]) -> list[list[MongoDocument]]:
    """Return the items of each of the orders, in their order, with one query: of as many of the
    orders as a page has room for, and of the first one at least."""
    found, more = _read_items(db, {"$in": order_ids}, MAX_ITEMS * len(order_ids))
    of_order: dict[ObjectId, list[MongoDocument]] = {order_id: [] for order_id in order_ids}
    for item in found:
        if isinstance(item["orderId"], ObjectId):
            of_order[item["orderId"]].append(item)
    if not more:
        return list(of_order.values())
    last = max(order_id for order_id in of_order if of_order[order_id])
    whole = list(takewhile(lambda order_id: order_id < last, order_ids))
    if not whole and order_ids:  # it alone has as many
        return [_read_items(db, order_ids[0], MAX_ITEMS)[0]]
    return [of_order[order_id] for order_id in whole]


def _read_items(db: MongoDatabase, of_orders: Any, limit: int) -> tuple[list[MongoDocument], bool]:
    """Return the first items of these orders, and whether there are more."""
    items = _items(db).collection
    order = [("orderId", 1), ("position", 1)]
    with items.find_raw_batches(
        {"orderId": of_orders}, sort=order, batch_size=BATCH_ITEMS
    ) as batches:
        return read_page(batches, limit)


def _items(db: MongoDatabase) -> Model:
    return Model(db, OrderItemDocument)
