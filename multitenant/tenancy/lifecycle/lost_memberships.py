"""Memberships without a user. They open nothing, but count where a tenant may have so many users.

A process leaves one that is killed while it adds or removes a user of a tenant on another
deployment than the admin database's: no transaction spans the two, and the membership is written
first when a user is added, and last when one is removed (ADR 10).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from bson import ObjectId

from multitenant.repositories.admin import tenant_users, tenants
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.repositories.tenant import users
from multitenant.repositories.transactions import run_transaction
from multitenant.repositories.turns import take_turn
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.lifecycle.platform_access import tenant_database
from multitenant.tenancy.routing.connection_manager import ConnectionManager

REMOVE_SECONDS = 10.0
PLACE = ("cluster", "dbName", "dbUri")


@dataclass(frozen=True, slots=True)
class LostMemberships:
    """Those of one tenant."""

    record: MongoDocument
    ids: list[ObjectId]


def find_tenants_elsewhere(connections: ConnectionManager) -> list[MongoDocument]:
    """Return the tenants that may have any."""
    return tenants.find_tenants_not_on(connections.admin_db, DEFAULT_CLUSTER)


def find_lost_memberships(
    connections: ConnectionManager, cipher: FieldCipher, record: MongoDocument, *, before: datetime
) -> Iterator[LostMemberships]:
    """Look for memberships of this tenant that are older than `before`: a younger one may belong to
    a user who is just being added. Raises whatever its database, or its record, leads to."""
    memberships = tenant_users.list_memberships(connections.admin_db, record["_id"], before=before)
    if not memberships:
        return
    with tenant_database(connections, cipher, record) as db:
        there = users.list_roles(db)
    lost = [own_id for own_id, user_id in memberships.items() if user_id not in there]
    if lost and "owner" in there.values():  # else the database is not as it should be: look at it
        yield LostMemberships(record, lost)


def remove_lost_memberships(
    connections: ConnectionManager, cipher: FieldCipher, lost: LostMemberships, actor: Actor
) -> bool:
    """Remove them; return whether that was done. It is not when the tenant has another database by
    now, which may have these users, or one of them was added to the one it has."""
    admin_db, tenant_id = connections.admin_db, lost.record["_id"]
    memberships = tenant_users.list_memberships(admin_db, tenant_id, before=utc_now())
    with tenant_database(connections, cipher, lost.record) as db:
        there = users.list_roles(db)
    if any(memberships.get(own_id) in there for own_id in lost.ids):
        return False

    def remove() -> bool:
        take_turn(admin_db, tenant_id)
        current = tenants.find_tenant(admin_db, tenant_id)
        if current is None or any(current.get(it) != lost.record.get(it) for it in PLACE):
            return False
        tenant_users.delete_memberships(admin_db, lost.ids)
        actor.record(admin_db, "user.remove_left_over", tenant_id, memberships=len(lost.ids))
        return True

    return run_transaction(connections.admin_client, remove, seconds=REMOVE_SECONDS)
