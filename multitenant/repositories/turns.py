"""Transactions that must happen one after another."""

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.turns import TurnDocument

COLLECTION: str = TurnDocument._meta["collection"]  # noqa: SLF001  # as in tenants.py


def take_turn(db: MongoDatabase, key: str | ObjectId) -> None:
    """Make this transaction and any other that takes a turn under the same key happen one after
    another. Call it first in the transaction.

    A transaction that only reads what another one changes sees no conflict: two may each find that
    there is an owner besides the one they remove. So both write one document, and MongoDB makes
    the second begin again, after the first.
    """
    Model(db, TurnDocument).collection.update_one({"_id": key}, {"$inc": {"taken": 1}}, upsert=True)


def delete_turns(db: MongoDatabase, key: str | ObjectId) -> None:
    """Forget the turns of something that is gone, in the transaction that took the last one."""
    Model(db, TurnDocument).collection.delete_one({"_id": key})
