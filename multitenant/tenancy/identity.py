"""Whose a tenant's database is: the identity that the platform writes into it, and its check.

Provisioning, copies and restores write the tenant's id into the record of the first migration. A
database that somebody has dropped lacks it, and does not get it back by the writes that make the
database anew: nothing but the platform writes it, and only into a database that it has filled. One
that was put under another tenant's name has the other's.

A database from before there were identities gets its own when it is first looked at, if its users
belong to the tenant.
"""

import logging
from enum import StrEnum
from typing import Any

from bson import ObjectId

from multitenant.errors import DatabaseLost
from multitenant.repositories.admin.tenant_users import belong_to_tenant
from multitenant.repositories.bounded_reads import RAW, decode
from multitenant.repositories.durability import write_concern
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.tenancy.migrations import COLLECTION

logger = logging.getLogger(__name__)

FIRST_MIGRATION = 1
"""Its record: every database that was provisioned has one, and no roll-back removes it."""
TENANT = "tenantId"
COMPARED_USERS = 100
USERS = "users"


class Problem(StrEnum):
    """Why a database is not the tenant's."""

    LOST = (
        "is empty, or gone, or was made anew by a write after somebody had dropped it: restore the"
        " tenant from a backup, or delete and purge it"
    )
    NO_USERS = "has lost its users: restore the tenant from a backup, or delete and purge it"
    FOREIGN = (
        "belongs to another tenant: correct dbName in this tenant's record, or restore its own"
        " database"
    )
    UNKNOWN = (
        "does not say whose it is, and has no user of this tenant: restore the tenant from a backup"
    )


def write_identity(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Make a database, which has been filled or migrated, this tenant's."""
    migrations = db.get_collection(COLLECTION, write_concern=write_concern())
    migrations.update_one({"_id": FIRST_MIGRATION}, {"$set": {TENANT: tenant_id}})


def ensure_own_database(admin_db: MongoDatabase, db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Return if the database is the tenant's, as provisioning made it. Raises DatabaseLost, whose
    message is for operators, and PyMongo's errors."""
    found = _look(db)
    if problem := _problem(admin_db, found, tenant_id):
        raise DatabaseLost(f"The database {db.name} of the tenant {tenant_id} {problem}")
    if TENANT not in found:
        write_identity(db, tenant_id)
        logger.info("The database %s says now that it is the tenant %s's", db.name, tenant_id)


def find_problem(admin_db: MongoDatabase, db: MongoDatabase, tenant_id: ObjectId) -> Problem | None:
    """Return why the database is not the tenant's; None if it is. Writes nothing."""
    return _problem(admin_db, _look(db), tenant_id)


def is_of_another(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Whether the database says that it is another tenant's."""
    return bool(_look(db).get(TENANT, tenant_id) != tenant_id)


def _look(db: MongoDatabase) -> MongoDocument:
    """Return the tenant's id and some of the users' ids, by one command; empty where there is no
    record of the first migration. Whatever else stands in it is left where it is."""
    some_users: list[dict[str, Any]] = [
        {"$match": {"_id": {"$type": "objectId"}}},
        {"$sort": {"_id": 1}},
        {"$limit": COMPARED_USERS},
        {"$project": {"_id": 1}},
    ]
    stages: list[dict[str, Any]] = [
        {"$match": {"_id": FIRST_MIGRATION}},
        {"$project": {TENANT: 1}},
        {"$lookup": {"from": USERS, "pipeline": some_users, "as": USERS}},
    ]
    with db.get_collection(COLLECTION, RAW).aggregate(stages) as found:
        first: Any = next(found, None)
    return decode(bytes(first.raw)) if first else {}


def _problem(admin_db: MongoDatabase, found: MongoDocument, tenant_id: ObjectId) -> Problem | None:
    if not found:
        return Problem.LOST
    if found.get(TENANT, tenant_id) != tenant_id:
        return Problem.FOREIGN
    users = [user["_id"] for user in found[USERS]]
    if not users:
        return Problem.NO_USERS
    if TENANT not in found and not belong_to_tenant(admin_db, tenant_id, users):
        return Problem.UNKNOWN
    return None
