"""Orders and their items in a tenant's database."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.resource import Resource
from multitenant.repositories.transactions import in_transaction
from multitenant.schemas.tenant.orders import OrderDocument, OrderItemDocument

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


def find_items(db: MongoDatabase, order_ids: list[ObjectId]) -> dict[ObjectId, list[MongoDocument]]:
    """Return the items of each of the orders, in their order, with one query."""
    of_order: dict[ObjectId, list[MongoDocument]] = {order_id: [] for order_id in order_ids}
    query = {"orderId": {"$in": order_ids}}
    for item in _items(db).collection.find(query).sort([("orderId", 1), ("position", 1)]):
        of_order[item["orderId"]].append(item)
    return of_order


def _items(db: MongoDatabase) -> Model:
    return Model(db, OrderItemDocument)
