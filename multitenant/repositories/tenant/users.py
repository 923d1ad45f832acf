"""Users in a tenant's database."""

from collections.abc import Iterator
from typing import Any

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.users import UserDocument


def _users(db: MongoDatabase) -> Model:
    return Model(db, UserDocument)


def insert_user(
    db: MongoDatabase,
    user_id: ObjectId,
    *,
    email: str,
    role: str,
    password: str | None,
    invitation_id: str | None,
) -> MongoDocument:
    """Insert a user: active with a password hash, invited without. Raises AlreadyExists."""
    now = utc_now()
    return _users(db).insert(
        id=user_id,
        email=email,
        role=role,
        password=password,
        status="active" if password else "invited",
        token_version=0,
        invitation_id=invitation_id,
        created_at=now,
        updated_at=now,
    )


def find_user(db: MongoDatabase, user_id: ObjectId) -> MongoDocument | None:
    """Return the user, password hash included; None when there is none."""
    return _users(db).find_one({"_id": user_id})


def find_sound_user(db: MongoDatabase, user_id: ObjectId) -> MongoDocument | None:
    """The same, but None also for one that does not fit the schema: whoever owns the server of a
    tenant may write anything there, and sessions are made of this."""
    user = find_user(db, user_id)
    return user if user is not None and _users(db).fits(user) else None


def find_user_by_email(db: MongoDatabase, email: str) -> MongoDocument | None:
    """Return the user of the (normalised) email, password hash included."""
    return _users(db).find_one({"email": email})


def list_users(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of users, oldest first, password hashes included."""
    return _users(db).find_page({}, query)


def list_roles(db: MongoDatabase) -> dict[ObjectId, str | None]:
    """Return the roles of all users, by their ids."""
    return {user["_id"]: user.get("role") for user in _users(db).collection.find({}, {"role": 1})}


def iterate_users(db: MongoDatabase) -> Iterator[MongoDocument]:
    """Go through all users, password hashes included."""
    yield from _users(db).collection.find()


def is_sound(db: MongoDatabase, user: MongoDocument) -> bool:
    """Whether the user is as the schema says."""
    return _users(db).fits(user)


def set_token_version(db: MongoDatabase, version: int) -> None:
    """Give all users the same token version, and except no session of theirs."""
    changes = {"$set": {"tokenVersion": version}, "$unset": {"exceptFamily": ""}}
    _users(db).collection.update_many({}, changes)


def void_invitations(db: MongoDatabase, user_ids: list[ObjectId]) -> None:
    """End the open invitations of these users."""
    query = {"_id": {"$in": user_ids}}
    _users(db).collection.update_many(query, {"$unset": {"invitationId": ""}})


def has_other_owner(db: MongoDatabase, user_id: ObjectId) -> bool:
    """Whether somebody else is an owner, and active."""
    query = {"role": "owner", "status": "active", "_id": {"$ne": user_id}}
    return _users(db).collection.find_one(query, {"_id": 1}) is not None


def update_user(db: MongoDatabase, user: MongoDocument, **changes: Any) -> MongoDocument | None:
    """Change fields of a user (None removes one), if they are as `user` says; return the new
    record, None otherwise."""
    return _users(db).update(_as_known(user), **changes)


def delete_user(db: MongoDatabase, user: MongoDocument) -> MongoDocument | None:
    """Remove a user, if they are as `user` says; return the record, None otherwise."""
    return _users(db).delete_one(_as_known(user))


def replace_password(
    db: MongoDatabase, user: MongoDocument, password: str, *, except_family: str
) -> MongoDocument | None:
    """Give an active user another password hash, if they are as `user` says, and end all of their
    sessions but one; return the new record, None otherwise."""
    return _users(db).update(
        {**_as_known(user), "status": "active", "password": user["password"]},
        password=password,
        token_version=user["tokenVersion"] + 1,
        except_family=except_family,
        unanswered_invitation=None,
    )


def accept_invitation(
    db: MongoDatabase, user_id: ObjectId, *, invitation_id: str, password: str
) -> MongoDocument | None:
    """Give an invited user a password hash and make them active; None when the invitation is
    not open (any more). It is remembered until forget_invitation()."""
    query: dict[str, Any] = {"_id": user_id, "status": "invited", "invitationId": invitation_id}
    return _users(db).update(
        query,
        password=password,
        status="active",
        invitation_id=None,
        unanswered_invitation=invitation_id,
    )


def forget_invitation(db: MongoDatabase, user_id: ObjectId, *, invitation_id: str) -> None:
    """Remember no longer that the user has accepted this invitation."""
    query = {"_id": user_id, "unansweredInvitation": invitation_id}
    _users(db).collection.update_one(query, {"$unset": {"unansweredInvitation": ""}})


def _as_known(user: MongoDocument) -> dict[str, Any]:
    """The query for this user, as long as nobody has changed what decides about a change."""
    decisive = ("role", "status", "tokenVersion", "invitationId")
    return {"_id": user["_id"], **{name: user.get(name) for name in decisive}}
