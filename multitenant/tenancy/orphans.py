"""Databases that were prepared for tenants that never came to be."""

from datetime import datetime, timedelta

from multitenant.repositories.admin.tenants import find_db_names
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.placement import Client

MARKER_COLLECTION = "provisioning"
MIN_AGE = timedelta(minutes=15)
"""Younger ones may be under way; preparing and the transaction are bounded far below this."""


def mark_prepared(db: MongoDatabase, admin_db_name: str) -> None:
    """Note in a new tenant database which platform prepares it, and since when. It is the first
    write there: a cluster may serve several platforms, and none may drop another's databases."""
    db[MARKER_COLLECTION].insert_one({"adminDb": admin_db_name, "startedAt": utc_now()})


def find_orphans(
    client: Client, admin_db: MongoDatabase, *, db_prefix: str, older_than: timedelta
) -> list[tuple[str, datetime]]:
    """Return name and time of each database that this platform prepared for a tenant which does
    not exist, if that is longer ago than `older_than` (at least MIN_AGE counts)."""
    names = [name for name in client.list_database_names() if name.startswith(db_prefix)]
    taken = find_db_names(admin_db, names)
    latest = utc_now() - max(older_than, MIN_AGE)
    orphans = []
    for name in sorted(set(names) - taken):
        marker = client[name][MARKER_COLLECTION].find_one({"adminDb": admin_db.name})
        if marker and marker["startedAt"] < latest:
            orphans.append((name, marker["startedAt"]))
    return orphans


def drop_orphan(client: Client, admin_db: MongoDatabase, name: str) -> bool:
    """Drop a database that find_orphans() answered, unless it belongs to a tenant by now; return
    whether it was dropped."""
    if find_db_names(admin_db, [name]):
        return False
    client.drop_database(name)
    return True
