"""How much is stored in a database."""

from typing import Any

from multitenant.repositories.model import MongoDatabase, MongoDocument


def collection_sizes(db: MongoDatabase) -> list[MongoDocument]:
    """Return `name`, `documents`, `bytes` (of data) and `diskBytes` (compressed, with indexes) of
    each collection, by name.

    One command reads what MongoDB keeps count of, so its cost does not grow with the data. The
    counts are exact, but for a while after mongod was killed.
    """
    names = sorted(db.list_collection_names(filter={"type": "collection"}))
    if not names:
        return []
    sizes: list[dict[str, Any]] = [
        {"$collStats": {"storageStats": {}}},
        {
            "$project": {
                "name": {"$substrBytes": ["$ns", len(db.name.encode()) + 1, -1]},
                "documents": "$storageStats.count",
                "bytes": "$storageStats.size",
                "diskBytes": "$storageStats.totalSize",
            }
        },
    ]
    others = [{"$unionWith": {"coll": name, "pipeline": sizes}} for name in names[1:]]
    return list(db[names[0]].aggregate([*sizes, *others]))


def database_size(db: MongoDatabase) -> MongoDocument:
    """Return how many `collections` and `indexes` the database has, the `bytes` of its data and its
    `diskBytes` (compressed, with indexes)."""
    stats = db.command("dbStats")
    return {
        "collections": stats["collections"],
        "indexes": stats["indexes"],
        "bytes": stats["dataSize"],
        "diskBytes": stats["storageSize"] + stats["indexSize"],
    }
