"""How long tokens live that are in force."""

from datetime import datetime, timedelta

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.token_lives import TokenLifeDocument


def upsert_token_life(db: MongoDatabase, life: timedelta, expires_at: datetime) -> None:
    """Record that tokens of that life are issued, the last of which expires at `expires_at`."""
    Model(db, TokenLifeDocument).collection.update_one(
        {"_id": int(life.total_seconds())}, {"$max": {"expiresAt": expires_at}}, upsert=True
    )


def longest_token_life(db: MongoDatabase, now: datetime) -> timedelta:
    """Return the longest life of any token that was recorded and may be in force `now`."""
    in_force = {"expiresAt": {"$gt": now}}
    longest = Model(db, TokenLifeDocument).collection.find_one(in_force, sort=[("_id", -1)])
    return timedelta(seconds=longest["_id"] if longest else 0)
