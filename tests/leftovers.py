"""What failed attempts have left over, and noted, for `multitenant tenants gc`."""

from datetime import timedelta

from multitenant.repositories.model import utc_now
from multitenant.tenancy.lifecycle.orphans import drop_orphan, find_orphans
from tests.support import World


def drop_leftovers(world: World) -> int:
    """Drop the databases that no tenant has, however young their notes are; return how many there
    were."""
    long_ago = {"$set": {"startedAt": utc_now() - timedelta(hours=2)}}
    world.admin_db["provisionings"].update_many({}, long_ago)
    found = find_orphans(world.admin_db, older_than=timedelta(hours=1))
    connections, cipher = world.platform.connections, world.platform.cipher
    assert all(drop_orphan(connections, cipher, note["_id"], note) for note in found)
    return len(found)
