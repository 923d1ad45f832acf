"""Making sure that every process knows a tenant as its record says now.

A handshake is written to the admin database, and every process hears of it by its change stream
(watcher.py). It answers when it reads the tenant's record anew for whatever begins, and when all
that began before has ended. Then, and not after some time that should suffice, nobody works with an
older record.
"""

import time

from bson import ObjectId

from multitenant.repositories.admin import handshakes
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.routing.presence import GONE_SECONDS

POLL_SECONDS = 0.005


def shake_hands(admin_db: MongoDatabase, tenant_id: ObjectId, *, seconds: float) -> bool:
    """Ask all processes about the tenant; return whether all have answered within `seconds`. To be
    called after the record was written. A process that ends meanwhile need not answer."""
    deadline = time.monotonic() + seconds
    handshake_id = handshakes.insert_handshake(admin_db, tenant_id)
    try:
        # Those that come later read the record that is there now.
        asked = handshakes.list_processes(admin_db, seconds=GONE_SECONDS)
        while missing := asked - handshakes.list_answers(admin_db, handshake_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_SECONDS)
            asked = missing & handshakes.list_processes(admin_db, seconds=GONE_SECONDS)
        return True
    finally:
        handshakes.delete_handshakes(admin_db, tenant_id)
