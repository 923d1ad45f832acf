"""Withdrawn tokens."""

from datetime import datetime
from typing import Any

from bson import ObjectId

from multitenant.errors import AlreadyExists
from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.admin.revocations import RevocationDocument

COLLECTION: str = RevocationDocument._meta["collection"]  # noqa: SLF001  # as in tenants.py


def begin_use(db: MongoDatabase, token_id: str, expires_at: datetime) -> MongoDocument | None:
    """Record that a refresh token is being used, which is not answered yet. Return the record of
    an earlier use, if there was one."""
    model = Model(db, RevocationDocument)
    try:
        model.insert(id=token_id, used=True, unanswered=True, expires_at=expires_at)
    except AlreadyExists:
        return model.collection.find_one({"_id": token_id})
    return None


def finish_use(
    db: MongoDatabase, token_id: str, expires_at: datetime, reusable_until: datetime
) -> MongoDocument | None:
    """Record that the use of a refresh token is about to be answered, and until when it may be used
    again. Return the record of another use that was answered before, if there was one.

    The record is replaced, rather than updated: only so does the change stream tell that it is one
    of a used token, and leave it out.
    """
    collection = Model(db, RevocationDocument).collection
    answered = {"used": True, "reusableUntil": reusable_until, "expiresAt": expires_at}
    if collection.find_one_and_replace({"_id": token_id, "unanswered": True}, answered):
        return None
    return collection.find_one({"_id": token_id})


def upsert_family_revocation(db: MongoDatabase, family: str, expires_at: datetime) -> None:
    """Withdraw every token of the family. May be done again."""
    Model(db, RevocationDocument).collection.update_one(
        {"_id": family}, {"$max": {"expiresAt": expires_at}}, upsert=True
    )


def user_key(tenant_id: ObjectId, user_id: ObjectId) -> str:
    """The `_id` of a user's revocation. It names the tenant, too: whoever owns a tenant's database
    may write any user id into it."""
    return f"{tenant_id}/{user_id}"


def tenant_key(tenant_id: ObjectId) -> str:
    """The `_id` of the revocation of all users of a tenant."""
    return f"{tenant_id}/"


def upsert_user_revocation(
    db: MongoDatabase,
    tenant_id: ObjectId,
    user_id: ObjectId,
    *,
    version: int,
    expires_at: datetime,
    except_family: str | None = None,
) -> bool:
    """Withdraw the user's tokens of versions below `version`, but those of `except_family`; return
    whether they were not withdrawn before.

    Withdrawals may arrive in any order. The one of the highest version decides which family is
    excepted: an older one changes nothing, and of two of the same version both must except it.
    """
    family: Any = "$$REMOVE" if except_family is None else {"$literal": except_family}
    agreed = {"$cond": [{"$eq": ["$exceptFamily", family]}, "$exceptFamily", "$$REMOVE"]}
    newest = {
        "$switch": {
            "branches": [
                {"case": {"$gt": [version, "$version"]}, "then": family},
                {"case": {"$lt": [version, "$version"]}, "then": "$exceptFamily"},
            ],
            "default": agreed,
        }
    }
    merged = {
        "version": {"$max": ["$version", version]},
        "exceptFamily": newest,
        "expiresAt": {"$max": ["$expiresAt", expires_at]},
    }
    before = Model(db, RevocationDocument).collection.find_one_and_update(
        {"_id": user_key(tenant_id, user_id)}, [{"$set": merged}], upsert=True
    )
    return before is None or before["version"] < version


def upsert_tenant_revocation(
    db: MongoDatabase,
    tenant_id: ObjectId,
    *,
    version: int,
    issued_until: datetime,
    expires_at: datetime,
) -> None:
    """Withdraw the tokens of all the tenant's users of versions below `version` that were issued
    until that time, and spare none. One record, however many users there are."""
    collection = Model(db, RevocationDocument).collection
    collection.update_many(
        {**_of_tenant(tenant_id), "exceptFamily": {"$exists": True}},
        {"$unset": {"exceptFamily": ""}},
    )
    withdraw = {"version": version, "issuedUntil": issued_until, "expiresAt": expires_at}
    collection.update_one({"_id": tenant_key(tenant_id)}, {"$max": withdraw}, upsert=True)


def newest_revoked_version(db: MongoDatabase, tenant_id: ObjectId) -> int:
    """Return the highest version below which tokens of any (or all) of the tenant's users are
    void."""
    found = Model(db, RevocationDocument).collection.find(_of_tenant(tenant_id), {"version": 1})
    return max((record.get("version", 0) for record in found), default=0)


def find_revocations(db: MongoDatabase, ids: list[str]) -> list[MongoDocument]:
    """Return the revocations of these tokens, families, users and tenants (by their keys)."""
    return list(Model(db, RevocationDocument).collection.find({"_id": {"$in": ids}}))


def delete_user_revocations(db: MongoDatabase, tenant_id: ObjectId) -> None:
    """Remove the revocations of a tenant's users, who are gone."""
    Model(db, RevocationDocument).collection.delete_many(_of_tenant(tenant_id))


def has_user_revocations(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Whether there is a revocation of any of the tenant's users."""
    return Model(db, RevocationDocument).collection.find_one(_of_tenant(tenant_id)) is not None


def _of_tenant(tenant_id: ObjectId) -> dict[str, Any]:
    return {"_id": {"$regex": f"^{tenant_id}/"}}
