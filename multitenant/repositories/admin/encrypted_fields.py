"""Every encrypted field of the admin database, for replacing keys."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.admin.clusters import ClusterDocument
from multitenant.schemas.admin.provisionings import ProvisioningDocument
from multitenant.schemas.admin.tenants import TenantDocument

ENCRYPTED_FIELDS = (
    (TenantDocument, "dbUri"),
    (TenantDocument, "credentials"),
    (ProvisioningDocument, "dbUri"),
    (ClusterDocument, "uri"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A field that is encrypted."""

    collection: str
    record_id: Any
    field: str
    value: Any
    """As it is stored: whatever stands there, if somebody has edited it."""


def count_with_other_key(db: MongoDatabase, key_id: str) -> int:
    """Return how many fields are encrypted with another key."""
    return sum(
        Model(db, document).collection.count_documents(_with_other_key(field, key_id))
        for document, field in ENCRYPTED_FIELDS
    )


def find_with_other_key(db: MongoDatabase, key_id: str) -> Iterator[Found]:
    """Go through the fields that are encrypted with another key."""
    for document, field in ENCRYPTED_FIELDS:
        collection = Model(db, document).collection
        for record in collection.find(_with_other_key(field, key_id), {field: 1}):
            yield Found(collection.name, record["_id"], field, record[field])


def replace_encrypted_field(db: MongoDatabase, found: Found, value: dict[str, Any]) -> bool:
    """Replace the field's value, if it is still what was found; return whether it was."""
    query = {"_id": found.record_id, found.field: found.value}
    update = {"$set": {found.field: value}}
    return db[found.collection].update_one(query, update).matched_count == 1


def _with_other_key(field: str, key_id: str) -> dict[str, Any]:
    return {field: {"$ne": None}, f"{field}.keyId": {"$ne": key_id}}
