"""Which documents MongoDB deletes by itself: those that a TTL index, or their collection, lets
expire."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pymongo
from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.tenancy.contents.collection_specs import CollectionSpec
from multitenant.tenancy.contents.raw_documents import (
    STEP_SECONDS,
    id_of,
    in_id_batches,
    raw_collection,
    with_ids,
)

OPTION = "expireAfterSeconds"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Before which no ObjectId was made."""


def expires(spec: CollectionSpec) -> bool:
    """Whether MongoDB deletes documents of the collection by itself."""
    return _expired(spec) is not None


def unexpired(db: MongoDatabase, spec: CollectionSpec, ids: Iterable[bytes]) -> set[bytes]:
    """Return those of these documents that are there, and that MongoDB does not delete by itself
    by now."""
    expired = _expired(spec)
    found: set[bytes] = set()
    for batch in in_id_batches(ids):
        wanted: dict[str, Any] = {"$and": [with_ids(batch), {"$nor": [expired]}]}
        with pymongo.timeout(STEP_SECONDS):
            documents = raw_collection(db, spec.stored_in).find(
                wanted if expired else with_ids(batch), {"_id": 1}
            )
            found |= {id_of(one) for one in documents}
    return found


def _expired(spec: CollectionSpec) -> MongoDocument | None:
    """Return the query for the documents that have expired by now; None where none ever do."""
    rules = [
        {"$and": [index.get("partialFilterExpression", {}), _before(next(iter(index["key"])), age)]}
        for index in spec.indexes
        if (age := _age(index)) is not None
    ]
    if (age := _age(spec.options)) is not None:
        rules.append(
            _bucket_before(spec, age) if spec.kind == "timeseries" else _before("_id", age)
        )
    return {"$or": rules} if rules else None


def _age(options: MongoDocument) -> timedelta | None:
    """After what time documents expire; None where that is never."""
    try:
        return timedelta(seconds=options[OPTION])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _before(field: str, age: timedelta) -> dict[str, Any]:
    return {field: {"$lte": _ago(age)}}


def _bucket_before(spec: CollectionSpec, age: timedelta) -> dict[str, Any]:
    """A bucket's id has the time of its first measurement; the last one may be so much later."""
    span = timedelta(seconds=spec.options["timeseries"]["bucketMaxSpanSeconds"])
    return {"_id": {"$lte": ObjectId.from_datetime(max(_ago(age + span), EPOCH))}}


def _ago(age: timedelta) -> datetime:
    try:
        return utc_now() - age
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)
