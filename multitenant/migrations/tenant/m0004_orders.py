"""Orders and their items."""

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.tenant.orders import OrderDocument, OrderItemDocument


def up(db: MongoDatabase) -> None:
    """Create the collections with indexes; may run again."""
    for document in (OrderDocument, OrderItemDocument):
        Model(db, document).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Drop them, with all that is in them."""
    for document in (OrderDocument, OrderItemDocument):
        Model(db, document).collection.drop()
