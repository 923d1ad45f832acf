"""The MongoDB users of dedicated tenants: each may read and write one database."""

import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Self

import orjson
from bson import ObjectId
from pymongo.errors import OperationFailure

from multitenant.errors import Conflict, DecryptionFailed
from multitenant.repositories.durability import run_confirmed
from multitenant.repositories.error_codes import (
    UNAUTHORIZED,
    USER_ALREADY_EXISTS,
    USER_NOT_FOUND,
)
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.repositories.retries import done_again
from multitenant.security.field_encryption import EncryptedField, FieldCipher
from multitenant.tenancy.deployments.clients import Client
from multitenant.tenancy.deployments.isolation import widened_scope

FIELD = "credentials"
MADE_AT = "multitenantMadeAt"

Role = Literal["readWrite", "read"]


@dataclass(frozen=True, slots=True)
class DatabaseUser:
    """A MongoDB user and their password."""

    name: str
    password: str = field(repr=False)

    @classmethod
    def of(cls, tenant_id: ObjectId, credentials: EncryptedField, cipher: FieldCipher) -> Self:
        """Decrypt the credentials of a tenant's record. Raises DecryptionFailed."""
        text = cipher.decrypt(credentials, record_id=tenant_id, field=FIELD)
        try:
            return cls(**orjson.loads(text))
        except (TypeError, ValueError) as error:
            raise DecryptionFailed(f"{FIELD} of {tenant_id} hold no user and password") from error

    def login(self, db: str) -> dict[str, Any]:
        """The options with which a client logs in as this user of the database called `db`."""
        return {
            "username": self.name,
            "password": self.password,
            "authSource": db,
            "authMechanism": "SCRAM-SHA-256",
        }

    def encrypted(self, tenant_id: ObjectId, cipher: FieldCipher) -> EncryptedField:
        """Return the credentials for the tenant's record."""
        text = orjson.dumps({"name": self.name, "password": self.password}).decode()
        return cipher.encrypt(text, record_id=tenant_id, field=FIELD)


def create_user(db: MongoDatabase, role: Role = "readWrite") -> DatabaseUser:
    """Make a new user who has this role in this database and may do nothing else.

    Raises Conflict when the platform's own MongoDB user may not make users.
    """
    user = DatabaseUser(f"tenant-{secrets.token_hex(8)}", secrets.token_urlsafe(32))
    made = {"customData": {MADE_AT: utc_now()}}
    try:
        connected_users(db)  # without this right nobody could tell when an old user may go
        done_again(
            lambda: run_confirmed(
                db,
                {
                    "createUser": user.name,
                    "pwd": user.password,
                    "roles": [{"role": role, "db": db.name}],
                    "mechanisms": ["SCRAM-SHA-256"],
                    **made,
                },
            )
        )
    except OperationFailure as error:
        if error.code == USER_ALREADY_EXISTS:
            # Nobody else has made up this name: it was done the first time, and may be unconfirmed.
            run_confirmed(db, {"updateUser": user.name, **made})
            return user
        if error.code == UNAUTHORIZED:
            raise Conflict(
                "The platform's MongoDB user may not manage users: dedicated tenants, and a shell"
                " on a tenant, need it to have the roles userAdminAnyDatabase and clusterMonitor"
            ) from error
        raise
    return user


def list_users(db: MongoDatabase) -> set[str] | None:
    """Return the names of the database's users; None where the platform may not look."""
    try:
        found = done_again(lambda: db.command("usersInfo"))
        return {user["user"] for user in found["users"]}
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return None


def list_made_users(client: Client) -> dict[str, dict[str, datetime]]:
    """Return, for each database of the cluster, the users that create_user() has made there and
    since when each exists. Empty where the platform may not look at users: it has made none."""
    try:
        found = client.admin.command(
            "usersInfo",
            {"forAllDBs": True},
            showCustomData=True,
            codec_options=client.codec_options,
        )
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return {}
    made: dict[str, dict[str, datetime]] = {}
    for user in found["users"]:
        if made_at := user.get("customData", {}).get(MADE_AT):
            made.setdefault(user["db"], {})[user["user"]] = made_at
    return made


def connected_users(db: MongoDatabase) -> set[str]:
    """Return the names of the database's users who have a connection open, from whatever process
    and machine."""
    stages: list[dict[str, Any]] = [
        {"$currentOp": {"allUsers": True, "idleConnections": True, "idleSessions": False}},
        {"$match": {"effectiveUsers.db": db.name}},
        {"$project": {"effectiveUsers": 1}},
    ]
    with widened_scope("admin"):
        operations = list(db.client.admin.aggregate(stages))
    return {
        user["user"]
        for operation in operations
        for user in operation["effectiveUsers"]
        if user["db"] == db.name
    }


def drop_user(db: MongoDatabase, name: str) -> None:
    """Drop the user, whose connections are refused from then on. May be done again."""
    try:
        done_again(lambda: run_confirmed(db, {"dropUser": name}))
    except OperationFailure as error:
        if error.code != USER_NOT_FOUND:
            raise


def drop_all_users(db: MongoDatabase) -> None:
    """Drop every user of the database."""
    run_confirmed(db, {"dropAllUsersFromDatabase": 1})


def drop_unused_users(db: MongoDatabase, users: set[str]) -> set[str]:
    """Drop those of these users who have no connection open; return the others."""
    connected = users & connected_users(db) if users else set()
    for name in users - connected:
        drop_user(db, name)
    return connected
