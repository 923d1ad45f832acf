"""Indexes for what looked through whole collections."""

import pymongo
from mongoengine import Document

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.audit import AuditDocument
from multitenant.schemas.admin.handshakes import HandshakeDocument, ProcessDocument
from multitenant.schemas.admin.idempotency_keys import IdempotencyKeyDocument
from multitenant.schemas.admin.locks import LockDocument
from multitenant.schemas.admin.provisionings import ProvisioningDocument
from multitenant.schemas.admin.tenants import TenantDocument

MADE: dict[type[Document], tuple[str, ...]] = {
    AuditDocument: (
        "action_1_at_1__id_1",
        "outcome_1_at_1__id_1",
        "tenantId_1_action_1_at_1__id_1",
        "tenantId_1_outcome_1_at_1__id_1",
    ),
    HandshakeDocument: ("tenantId_1",),
    ProcessDocument: ("seenAt_1",),
    IdempotencyKeyDocument: ("tenantId_1",),
    LockDocument: ("holder_1",),
    ProvisioningDocument: (
        "cluster_1_purged_1_droppingSince_1",
        "preparedVersion_1_cluster_1_startedAt_1",
        "tenantId_1_startedAt_1",
        "kept_1_startedAt_1",
    ),
    TenantDocument: ("schemaVersion_1", "status_1_deletedAt_1"),
}
BUILD_SECONDS = 24 * 3600.0
"""What the indexes of a collection may take, instead of OPERATION_TIMEOUT_MS: the audit log may be
long, and MongoDB gives an index up with the command that makes it."""


def up(db: MongoDatabase) -> None:
    """Make them; may run again. Of those that are there already nothing is changed."""
    for document, names in MADE.items():
        model = Model(db, document)
        missing = set(names) - model.collection.index_information().keys()
        new = [index for index in model.declared_indexes() if index.document["name"] in missing]
        if new:
            with pymongo.timeout(BUILD_SECONDS):
                model.collection.create_indexes(new)


def down(db: MongoDatabase) -> None:
    """Drop them."""
    for document, names in MADE.items():
        collection = Model(db, document).collection
        for name in collection.index_information().keys() & set(names):
            collection.drop_index(name)
