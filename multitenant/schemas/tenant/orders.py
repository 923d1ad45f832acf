"""Orders and their items: the stored documents, payloads and answers."""

from decimal import Decimal
from typing import Annotated

from mongoengine import Decimal128Field, IntField, ObjectIdField, StringField
from pydantic import Field

from multitenant.schemas.document import DatedDocument
from multitenant.schemas.money import MAX_PRICE, Amount, Price
from multitenant.schemas.payload import Id, Line, Payload, Time
from multitenant.schemas.stored import StoredAnswer

MAX_ITEMS = 100
MAX_QUANTITY = 1_000_000


class OrderDocument(DatedDocument):
    """An order as the tenant's database keeps it, together with its items or not at all."""

    meta = {"collection": "orders", "indexes": [["created_at", "_id"]]}

    total = Decimal128Field(required=True, min_value=0)


class OrderItemDocument(DatedDocument):
    """One line of an order; `position` counts from 0."""

    meta = {
        "collection": "orderItems",
        "indexes": [{"fields": ["order_id", "position"], "unique": True}],
    }

    order_id = ObjectIdField(db_field="orderId", required=True)
    position = IntField(required=True, min_value=0, max_value=MAX_ITEMS - 1)
    name = StringField(required=True, min_length=1, max_length=200)
    quantity = IntField(required=True, min_value=1, max_value=MAX_QUANTITY)
    price = Decimal128Field(required=True, min_value=0, max_value=MAX_PRICE)


class NewOrderItem(Payload):
    """One line of an order: so many of something, at a price each."""

    name: Line = Field(examples=["Anvil"])
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)]
    price: Price

    @property
    def amount(self) -> Decimal:
        """What all of them cost."""
        return self.quantity * self.price


class NewOrder(Payload):
    """An order to place."""

    example = {
        "items": [
            {"name": "Anvil", "quantity": 2, "price": "19.90"},
            {"name": "Rope", "quantity": 1, "price": "4.50"},
        ]
    }

    items: Annotated[list[NewOrderItem], Field(min_length=1, max_length=MAX_ITEMS)]


class OrderItemAnswer(StoredAnswer):
    """One line of an order."""

    name: str
    quantity: int
    price: Amount


class OrderAnswer(StoredAnswer):
    """An order with its items, as they were sent."""

    id: Id
    items: list[OrderItemAnswer]
    total: Amount
    created_at: Time
    updated_at: Time
