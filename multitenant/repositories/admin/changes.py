"""The changes of the admin database that processes follow."""

from collections.abc import Mapping
from typing import Any

from pymongo.synchronous.change_stream import ChangeStream

from multitenant.repositories.admin.clusters import COLLECTION as CLUSTERS
from multitenant.repositories.admin.handshakes import COLLECTION as HANDSHAKES
from multitenant.repositories.admin.heartbeats import COLLECTION as HEARTBEATS
from multitenant.repositories.admin.revocations import COLLECTION as REVOCATIONS
from multitenant.repositories.admin.tenants import COLLECTION as TENANTS
from multitenant.repositories.model import MongoDatabase, MongoDocument

BATCH_SIZE = 100
"""So many changes are told at most before other threads have their turn."""
PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "ns.coll": {"$in": [TENANTS, REVOCATIONS, CLUSTERS, HANDSHAKES, HEARTBEATS]},
            # Every refresh leaves a record that the old token was used; no cache knows of those.
            "fullDocument.used": {"$ne": True},
            # What a cluster takes is measured now and then; no cache knows of that.
            "updateDescription.updatedFields.measured": {"$exists": False},
            "$and": [
                # Of handshakes only the question; the answers are for whoever asks.
                {"$or": [{"ns.coll": {"$ne": HANDSHAKES}}, {"operationType": "insert"}]},
                # MongoDB removes a withdrawal when the last token that it is about has expired:
                # to forget it would let nobody in, and used tokens are removed like that all day.
                {"$or": [{"ns.coll": {"$ne": REVOCATIONS}}, {"operationType": {"$ne": "delete"}}]},
            ],
        }
    }
]


def open_changes(
    db: MongoDatabase, *, await_ms: int, after: Mapping[str, Any] | None
) -> ChangeStream[MongoDocument]:
    """Return the changes after that resume token, or those from now on. An answer without any comes
    after `await_ms`."""
    return db.watch(PIPELINE, max_await_time_ms=await_ms, batch_size=BATCH_SIZE, resume_after=after)


def cursor_of(stream: ChangeStream[MongoDocument]) -> object:
    """Return what the changes are read from: another one once PyMongo has resumed the stream by
    itself, after an election, say. PyMongo does not tell otherwise."""
    return stream._cursor  # noqa: SLF001


def has_more(stream: ChangeStream[MongoDocument]) -> bool:
    """Whether another change has arrived with the last answer, so that the next try_next() asks
    the server nothing. PyMongo does not tell otherwise."""
    return bool(stream._cursor._has_next())  # noqa: SLF001
