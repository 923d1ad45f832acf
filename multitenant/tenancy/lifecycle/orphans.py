"""Databases that are no tenant's: prepared for one that never came to be, or left by one that is
gone. A note in the admin database (`provisionings`) tells of each.

Whoever drops such a database claims its note first. That and the transaction which removes the
note, and so makes a tenant of the database, exclude each other: neither loses a tenant its data.
"""

import logging
from datetime import timedelta

from bson import ObjectId
from pymongo.errors import OperationFailure

from multitenant.repositories.admin import provisionings, tenant_users, tenants
from multitenant.repositories.admin.clusters import is_open
from multitenant.repositories.error_codes import UNAUTHORIZED
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.repositories.retries import done_again
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.contents.collection_specs import is_mongodbs_own
from multitenant.tenancy.contents.platform_marks import is_marked_as_copy
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER, EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.database_users import drop_all_users
from multitenant.tenancy.deployments.external import OWNER_COLLECTION, decrypt_uri, is_claimed_by
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.identity import is_of_another
from multitenant.tenancy.migrations import TENANT_VERSION
from multitenant.tenancy.routing.connection_manager import ConnectionManager

logger = logging.getLogger(__name__)

WRITTEN_BEFORE = {"users", "migrations"}
"""Where there are documents before a tenant exists."""
MIN_AGE = timedelta(minutes=15)
"""Younger ones are most likely under way."""


def find_orphans(
    admin_db: MongoDatabase, *, older_than: timedelta, keep_prepared: int = 0
) -> list[MongoDocument]:
    """Return the notes of databases that this platform began to prepare or to drop, and did not
    finish, longer ago than `older_than` (at least MIN_AGE counts). Of those that wait for tenants
    with the schema of today, so many on each open cluster are no orphans; those that are kept are
    none."""
    before = utc_now() - max(older_than, MIN_AGE)
    waiting = [
        waits
        for cluster, ids in provisionings.list_prepared(admin_db, version=TENANT_VERSION).items()
        if is_open(admin_db, cluster)
        for waits in ids[:keep_prepared]
    ]
    notes = provisionings.list_provisionings(admin_db, before=before)
    return [note for note in notes if note["_id"] not in waiting]


def drop_orphan(
    connections: ConnectionManager,
    cipher: FieldCipher,
    tenant_id: ObjectId,
    note: MongoDocument,
    *,
    keep_note: bool = False,
) -> bool:
    """Drop the database that the note tells of, with its users; return whether it was dropped,
    which it is not when it turns out to be a tenant's, or the note is another one by now: somebody
    has begun, or gone on, to make a tenant of it.

    With `keep_note` it will be dropped once more, later: a request that is still under way may
    write to it, and so make it again.
    """
    if not provisionings.claim_provisioning(connections.admin_db, tenant_id, seen=note):
        return False
    return done_again(
        lambda: _drop_noted(connections, cipher, tenant_id, note, keep_note=keep_note)
    )


def drop_failed_attempt(
    connections: ConnectionManager,
    cipher: FieldCipher,
    tenant_id: ObjectId,
    note: MongoDocument,
) -> None:
    """Drop what this process has prepared for a tenant that it certainly did not make.

    When a collection of garbage was faster, the note is gone, but what was written after it is
    not; nobody else prepares a database of this name.
    """
    provisionings.claim_provisioning(connections.admin_db, tenant_id)
    done_again(lambda: _drop_noted(connections, cipher, tenant_id, note, keep_note=False))


def _drop_noted(
    connections: ConnectionManager,
    cipher: FieldCipher,
    tenant_id: ObjectId,
    note: MongoDocument,
    *,
    keep_note: bool,
) -> bool:
    uri = decrypt_uri(cipher, note.get("dbUri"), note["_id"])
    with (
        connections.operator_client(note["cluster"], uri) as client,
        widened_scope(note["dbName"]),
    ):
        db = client[note["dbName"]]
        if _is_in_use(connections.admin_db, db, note):
            logger.error("%s is noted as a left-over, but is in use; look at it", db.name)
            return False
        # A server of somebody else's must say itself that this is ours: the mark is our first
        # write there.
        if note["cluster"] != EXTERNAL_CLUSTER or _is_ours(db, note):
            _drop(db)
        if note["cluster"] != EXTERNAL_CLUSTER:
            _drop_users(db, expected=note["hasUsers"])
    if "tenantId" not in note:  # memberships are copied before the tenant is there
        tenant_users.delete_tenant_users(connections.admin_db, note["_id"])
    if not keep_note:
        provisionings.delete_provisioning(connections.admin_db, tenant_id)
    return True


def _is_in_use(admin_db: MongoDatabase, db: MongoDatabase, note: MongoDocument) -> bool:
    """Whether a tenant was made of it all the same: then the admin database is older than the data
    (it was restored from a backup, say). On the admin database's cluster, what never became a
    tenant has no user, or a mark that it was being filled. On another one the first user is
    written before the tenant exists, and nothing after them."""
    if note["cluster"] == EXTERNAL_CLUSTER:
        return False
    if tenants.find_tenants_by_db_names(admin_db, note["cluster"], [note["dbName"]]):
        return True
    if is_marked_as_copy(db, note["_id"]):
        return False
    if is_of_another(db, note["tenantId"] if "tenantId" in note else note["_id"]):
        return True
    if note["purged"]:
        return False
    if "tenantId" in note and not tenants.find_tenant(admin_db, note["tenantId"]):
        return False  # a copy for a tenant that was purged since
    found = list(db["users"].find({}, {"createdAt": 1, "updatedAt": 1}).limit(2))
    if note["cluster"] == DEFAULT_CLUSTER or len(found) > 1:
        return bool(found)
    if any(user["createdAt"] != user["updatedAt"] for user in found):
        return True
    written = set(db.list_collection_names(filter={"type": "collection"})) - WRITTEN_BEFORE
    return any(db[name].find_one({}, {"_id": 1}) for name in written)


def _is_ours(db: MongoDatabase, note: MongoDocument) -> bool:
    """Whether the database is the one that the note means. Of a tenant's databases, the one that
    is being prepared bears the note's own id: its URI may lead to the one that is in use."""
    if "tenantId" not in note:
        return is_claimed_by(db, note["_id"])
    return is_claimed_by(db, note["tenantId"], copy_id=None if note["purged"] else note["_id"])


def _drop_users(db: MongoDatabase, *, expected: bool) -> None:
    try:
        drop_all_users(db)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        # Who may not drop users could not make any, either, unless the right was taken away.
        if expected:
            logger.warning("The platform's MongoDB user may not drop the users of %s", db.name)


def _drop(db: MongoDatabase) -> None:
    """Drop the database, or empty it where the user may do no more."""
    try:
        db.client.drop_database(db.name)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        names = [name for name in db.list_collection_names() if not is_mongodbs_own(name)]
        for name in sorted(names, key=lambda name: name == OWNER_COLLECTION):  # the mark last
            db.drop_collection(name)


def known_databases(admin_db: MongoDatabase, cluster: str) -> set[str]:
    """Return the names of all databases that the platform knows to be its own on this cluster:
    tenants', and those that are noted."""
    noted = provisionings.list_db_names(admin_db, cluster)  # first: a note becomes a tenant
    return noted | tenants.list_db_names(admin_db, cluster).keys()
