"""Databases that were prepared for tenants that never came to be."""

from datetime import datetime, timedelta

from multitenant.repositories.admin.tenants import find_db_names
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.placement import Client

MARKER_COLLECTION = "provisioning"
MIN_AGE = timedelta(minutes=15)
"""Younger ones are most likely under way."""


def mark_prepared(db: MongoDatabase, admin_db_name: str) -> None:
    """Note in a database that it is not a tenant's, which platform it belongs to, and since when.

    It is the first write to a new tenant database (a cluster may serve several platforms, and
    none may drop another's), and comes back in the transaction that removes a tenant: from then
    on the database may be dropped, by gc if this process cannot.
    """
    db[MARKER_COLLECTION].insert_one({"adminDb": admin_db_name, "startedAt": utc_now()})


def unmark_prepared(db: MongoDatabase) -> bool:
    """Take the marker away, in the transaction that makes the tenant; return False when somebody
    has claimed the database for dropping. From the commit on, nobody can."""
    unclaimed = {"dropping": {"$exists": False}}
    return db[MARKER_COLLECTION].delete_one(unclaimed).deleted_count == 1


def find_orphans(
    client: Client, admin_db: MongoDatabase, *, db_prefix: str, older_than: timedelta
) -> list[tuple[str, datetime]]:
    """Return name and time of each database that this platform began to prepare for a tenant, and
    did not finish, longer ago than `older_than` (at least MIN_AGE counts)."""
    names = [name for name in client.list_database_names() if name.startswith(db_prefix)]
    latest = utc_now() - max(older_than, MIN_AGE)
    orphans = []
    for name in sorted(set(names) - find_db_names(admin_db, names)):
        marker = client[name][MARKER_COLLECTION].find_one({"adminDb": admin_db.name})
        if marker and marker["startedAt"] < latest:
            orphans.append((name, marker["startedAt"]))
    return orphans


def drop_prepared(db: MongoDatabase, admin_db_name: str) -> bool:
    """Drop a database that this platform has prepared and that no tenant was made of; return
    whether it was dropped.

    Claiming the marker decides: it and the transaction that takes the marker away exclude each
    other, so neither loses a tenant its database.
    """
    claimed = db[MARKER_COLLECTION].update_one(
        {"adminDb": admin_db_name}, {"$set": {"dropping": utc_now()}}
    )
    if not claimed.matched_count:
        return False
    db.client.drop_database(db.name)
    return True
