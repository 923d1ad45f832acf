"""Locks of the whole platform: across processes and machines."""

from datetime import timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError

from multitenant.repositories.model import Model, MongoDatabase, utc_now
from multitenant.schemas.admin.locks import LockDocument


def acquire_lock(db: MongoDatabase, name: str, *, holder: str, lasts: timedelta) -> bool:
    """Take the lock, or keep it, for so long from now; return False while somebody else has it.

    It is theirs no longer when it has lasted: whoever holds one for longer takes it again in
    between. What they do must bear a second one doing it, for a process may stand still.
    """
    now = utc_now()
    free = {"_id": name, "$or": [{"holder": holder}, {"until": {"$lt": now}}]}
    mine = {"$set": {"holder": holder, "until": now + lasts}}
    try:
        Model(db, LockDocument).collection.update_one(free, mine, upsert=True)
    except DuplicateKeyError:
        return False
    return True


def keep_locks(db: MongoDatabase, *, holder: str, lasts: timedelta) -> None:
    """Keep every lock of the holder that has not expired, for so long from now."""
    until = {"$add": ["$$NOW", int(lasts.total_seconds() * 1000)]}
    Model(db, LockDocument).collection.update_many(_held_by(holder), [{"$set": {"until": until}}])


def check_lock(db: MongoDatabase, name: str, *, holder: str) -> bool:
    """Whether the holder has the lock still. In a transaction that stays so until it commits:
    whoever takes the lock conflicts with it."""
    checked = [{"$set": {"checkedAt": "$$NOW"}}]
    query = {"_id": name, **_held_by(holder)}
    return Model(db, LockDocument).collection.update_one(query, checked).matched_count == 1


def _held_by(holder: str) -> dict[str, Any]:
    """Not expired by MongoDB's clock, whatever those of the processes say."""
    return {"holder": holder, "$expr": {"$gt": ["$until", "$$NOW"]}}


def release_lock(db: MongoDatabase, name: str, *, holder: str) -> None:
    """Give the lock back, if the holder still has it."""
    Model(db, LockDocument).collection.delete_one({"_id": name, "holder": holder})
