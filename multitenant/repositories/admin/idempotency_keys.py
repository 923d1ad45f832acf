"""Results of requests that were made with an `Idempotency-Key`."""

from typing import Any

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.idempotency_keys import IdempotencyKeyDocument


def insert_idempotency_key(db: MongoDatabase, key: str, **result: Any) -> None:
    """Keep a result under the key; raises AlreadyExists when the key was used before."""
    Model(db, IdempotencyKeyDocument).insert(id=key, **result)


def find_idempotency_key(db: MongoDatabase, key: str) -> MongoDocument | None:
    """Return what was kept under the key."""
    return Model(db, IdempotencyKeyDocument).collection.find_one({"_id": key})


def delete_idempotency_keys(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Forget the requests that made this tenant, which is gone."""
    Model(db, IdempotencyKeyDocument).collection.delete_many({"tenantId": tenant_id})
