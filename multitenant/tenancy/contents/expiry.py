"""Which documents MongoDB deletes by itself: those that a TTL index, or their collection, lets
expire."""

from datetime import datetime, timedelta
from typing import Any

from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.tenancy.contents.collection_specs import CollectionSpec

OPTION = "expireAfterSeconds"


def expires(spec: CollectionSpec) -> bool:
    """Whether MongoDB deletes documents of the collection by itself."""
    return any(OPTION in one for one in (spec.options, *spec.indexes))


def expired(spec: CollectionSpec) -> MongoDocument | None:
    """Return the query for the documents that have expired by now; None where none ever do."""
    rules = [
        {"$and": [index.get("partialFilterExpression", {}), _before(next(iter(index["key"])), age)]}
        for index in spec.indexes
        if (age := _age(index)) is not None
    ]
    if (age := _age(spec.options)) is not None:  # of a clustered collection
        rules.append(_before("_id", age))
    return {"$or": rules} if rules else None


def _age(options: MongoDocument) -> timedelta | None:
    """After what time documents expire; None where that is never."""
    try:
        return timedelta(seconds=options[OPTION])
    except (KeyError, TypeError, ValueError, OverflowError):
        return None


def _before(field: str, age: timedelta) -> dict[str, Any]:
    try:
        limit = utc_now() - age
    except OverflowError:
        limit = datetime.min
    return {field: {"$lte": limit}}
