"""A unique index: no two tenants have one database."""

import logging

from pymongo.errors import DuplicateKeyError

from multitenant.repositories.admin.tenants import list_shared_databases
from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.tenants import TenantDocument

logger = logging.getLogger(__name__)

INDEX = "cluster_1_dbName_1_dbUri_1"


def up(db: MongoDatabase) -> None:
    """Make the index; may run again. Where records name one database already, that is logged, and
    told by `multitenant doctor`: such a tenant is refused, and must not keep the others from being
    served by this release."""
    try:
        Model(db, TenantDocument).ensure_indexes()
    except DuplicateKeyError:
        for name, owners in list_shared_databases(db).items():
            logger.error(
                "The records of the tenants %s name one database, %s: correct dbName where it is"
                " wrong, and make the missing index that `multitenant doctor` tells of",
                " and ".join(owners),
                name,
            )


def down(db: MongoDatabase) -> None:
    """Drop the index."""
    tenants = Model(db, TenantDocument).collection
    if INDEX in tenants.index_information():
        tenants.drop_index(INDEX)
