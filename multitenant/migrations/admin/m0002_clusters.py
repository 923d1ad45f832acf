"""Clusters: that of the admin database has a record, too, and tenants are counted by cluster."""

from multitenant.repositories.model import Model, MongoDatabase, utc_now
from multitenant.schemas.admin.clusters import ClusterDocument
from multitenant.schemas.admin.tenants import TenantDocument

INDEX = "cluster_1_createdAt_1"


def up(db: MongoDatabase) -> None:
    """Make the record and the index; may run again."""
    now = utc_now()
    made = {"state": "open", "createdAt": now, "updatedAt": now}
    Model(db, ClusterDocument).collection.update_one(
        {"_id": "default"}, {"$setOnInsert": made}, upsert=True
    )
    Model(db, TenantDocument).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Remove both; the records of other clusters stay, for tenants may be there."""
    Model(db, ClusterDocument).collection.delete_one({"_id": "default"})
    tenants = Model(db, TenantDocument).collection
    if INDEX in tenants.index_information():
        tenants.drop_index(INDEX)
