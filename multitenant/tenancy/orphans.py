"""Databases that are no tenant's: prepared for one that never came to be, or left by one that is
gone. A note in the admin database (`provisionings`) tells of each.

Whoever drops such a database claims its note first. That and the transaction which removes the
note, and so makes a tenant of the database, exclude each other: neither loses a tenant its data.
"""

import logging
from datetime import timedelta

from bson import ObjectId
from pymongo.errors import OperationFailure

from multitenant.repositories.admin import provisionings, tenants
from multitenant.repositories.error_codes import UNAUTHORIZED
from multitenant.repositories.model import MongoDatabase, MongoDocument, utc_now
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.connection_manager import ConnectionManager
from multitenant.tenancy.database_users import drop_all_users
from multitenant.tenancy.external import OWNER_COLLECTION, decrypt_uri, is_claimed_by
from multitenant.tenancy.isolation import widened_scope
from multitenant.tenancy.migrations import TENANT_VERSION

logger = logging.getLogger(__name__)

MIN_AGE = timedelta(minutes=15)
"""Younger ones are most likely under way."""


def find_orphans(
    admin_db: MongoDatabase, *, older_than: timedelta, keep_prepared: int = 0
) -> list[MongoDocument]:
    """Return the notes of databases that this platform began to prepare or to drop, and did not
    finish, longer ago than `older_than` (at least MIN_AGE counts). Of those that wait for tenants
    with the schema of today, so many are no orphans."""
    before = utc_now() - max(older_than, MIN_AGE)
    waiting = provisionings.list_prepared(admin_db, version=TENANT_VERSION)[:keep_prepared]
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
    which it is not when it turns out to be a tenant's.

    With `keep_note` it will be dropped once more, later: a request that is still under way may
    write to it, and so make it again.
    """
    if not provisionings.claim_provisioning(connections.admin_db, tenant_id):
        return False
    return _drop_noted(connections, cipher, tenant_id, note, keep_note=keep_note)


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
    _drop_noted(connections, cipher, tenant_id, note, keep_note=False)


def _drop_noted(
    connections: ConnectionManager,
    cipher: FieldCipher,
    tenant_id: ObjectId,
    note: MongoDocument,
    *,
    keep_note: bool,
) -> bool:
    uri = decrypt_uri(cipher, note.get("dbUri"), tenant_id)
    with (
        connections.operator_client(note["cluster"], uri) as client,
        widened_scope(note["dbName"]),
    ):
        db = client[note["dbName"]]
        if _is_in_use(db, note):
            logger.error("%s is noted as a left-over, but is in use; look at it", db.name)
            return False
        # A server of somebody else's must say itself that this is ours: the mark is our first
        # write there.
        if note["cluster"] != EXTERNAL_CLUSTER or is_claimed_by(db, tenant_id):
            _drop(db)
        if note["cluster"] != EXTERNAL_CLUSTER:
            _drop_users(db, expected=note["hasUsers"])
    if not keep_note:
        provisionings.delete_provisioning(connections.admin_db, tenant_id)
    return True


def _is_in_use(db: MongoDatabase, note: MongoDocument) -> bool:
    """Whether a tenant was made of it all the same. On our clusters, what never became a tenant
    has no user: if it has, the admin database is older than the data (it was restored from a
    backup, say)."""
    if note["purged"] or note["cluster"] == EXTERNAL_CLUSTER:
        return False
    return db["users"].find_one({}, {"_id": 1}) is not None


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
        names = [name for name in db.list_collection_names() if not name.startswith("system.")]
        for name in sorted(names, key=lambda name: name == OWNER_COLLECTION):  # the mark last
            db.drop_collection(name)


def known_databases(admin_db: MongoDatabase, cluster: str) -> set[str]:
    """Return the names of all databases that the platform knows to be its own on this cluster:
    tenants', and those that are noted."""
    noted = provisionings.list_db_names(admin_db, cluster)  # first: a note becomes a tenant
    return noted | tenants.list_db_names(admin_db, cluster).keys()
