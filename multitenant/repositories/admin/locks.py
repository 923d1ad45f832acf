"""Locks of the whole platform: across processes and machines."""

from datetime import timedelta

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
    """Keep every lock of the holder for so long from now."""
    changes = {"$set": {"until": utc_now() + lasts}}
    Model(db, LockDocument).collection.update_many({"holder": holder}, changes)


def release_lock(db: MongoDatabase, name: str, *, holder: str) -> None:
    """Give the lock back, if the holder still has it."""
    Model(db, LockDocument).collection.delete_one({"_id": name, "holder": holder})
