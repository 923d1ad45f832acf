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


def hold_turn(db: MongoDatabase, key: str, *, holder: str) -> None:
    """Take the turn for the holder, until somebody else does."""
    held = {"$set": {"holder": holder}, "$inc": {"taken": 1}}
    Model(db, TurnDocument).collection.update_one({"_id": key}, held, upsert=True)


def is_holding_turn(db: MongoDatabase, key: str, *, holder: str) -> bool:
    """Whether the holder has the turn still. In a transaction that stays so until it commits."""
    query = {"_id": key, "holder": holder}
    taken = {"$inc": {"taken": 1}}
    return Model(db, TurnDocument).collection.update_one(query, taken).matched_count == 1


def delete_turns(db: MongoDatabase, key: str | ObjectId) -> None:
    """Forget the turns of something that is gone, in the transaction that took the last one."""
    Model(db, TurnDocument).collection.delete_one({"_id": key})
