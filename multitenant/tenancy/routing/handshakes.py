"""Making sure that every process knows a tenant as its record says now.

A handshake is written to the admin database, and every process hears of it by its change stream
(watcher.py). It answers when it reads the tenant's record anew for whatever begins, and when all
that began before has ended. Then, and not after some time that should suffice, nobody works with an
older record.
"""

import time

from bson import ObjectId

from multitenant.errors import Conflict
from multitenant.repositories.admin import handshakes
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.routing.presence import GONE_SECONDS

POLL_SECONDS = 0.005
MAX_POLL_SECONDS = 0.1
"""Between two looks, which are twice as far apart each time."""
ALL_SECONDS = GONE_SECONDS + 5.0
"""By then a process that was killed counts as gone."""
ASK_AGAIN_SECONDS = 5.0
"""A process whose change stream was interrupted has not heard of the handshake."""
NO_ANSWER = (
    "A process did not say in time that it has ended what it does in the tenant: a request takes"
    " long, or a process hangs. Nothing was changed; try again"
)


def await_all_processes(admin_db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Wait until all processes have answered about the tenant, those that were killed excepted.
    Raises Conflict when one does not, in time."""
    deadline = time.monotonic() + ALL_SECONDS
    while not shake_hands(admin_db, tenant_id, seconds=ASK_AGAIN_SECONDS):
        if time.monotonic() > deadline:
            raise Conflict(NO_ANSWER)


def shake_hands(admin_db: MongoDatabase, tenant_id: ObjectId, *, seconds: float) -> bool:
    """Ask all processes about the tenant; return whether all have answered within `seconds`. To be
    called after the record was written. A process that ends meanwhile need not answer."""
    deadline = time.monotonic() + seconds
    handshake_id = handshakes.insert_handshake(admin_db, tenant_id)
    try:
        # Those that come later read the record that is there now.
        asked = handshakes.list_processes(admin_db, seconds=GONE_SECONDS)
        pause = POLL_SECONDS
        while missing := asked - handshakes.list_answers(admin_db, handshake_id):
            if time.monotonic() > deadline:
                return False
            time.sleep(pause)
            pause = min(2 * pause, MAX_POLL_SECONDS)
            asked = missing & handshakes.list_processes(admin_db, seconds=GONE_SECONDS)
        return True
    finally:
        handshakes.delete_handshake(admin_db, handshake_id)
