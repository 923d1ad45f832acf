"""Tenants' own MongoDB servers: which URIs are taken, and whose database is behind one.

The platform connects to what an operator names, so it is careful about it: only hosts that
TENANT_URI_ALLOWED_HOSTS lists, only options that neither read files of this machine nor use its
identity, only replica sets, and only an empty database, which is then marked as the tenant's.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pymongo
from bson import ObjectId
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
)
from pymongo.uri_parser import parse_uri

from multitenant import mongodb_uris
from multitenant.config import RESERVED_DATABASES
from multitenant.errors import AlreadyExists, ValidationFailed
from multitenant.mongodb_uris import TENANT, ensure_options_taken
from multitenant.repositories.error_codes import AUTHENTICATION_FAILED, UNAUTHORIZED
from multitenant.repositories.model import MongoDatabase
from multitenant.security.field_encryption import EncryptedField, FieldCipher
from multitenant.tenancy.deployments.allowed_hosts import is_allowed
from multitenant.tenancy.deployments.foreign_servers import (
    MAX_MEMBERS,
    SRV_SCHEME,
    ForeignServerRefused,
    answers_understood,
)

FIELD = "dbUri"
OWNER_COLLECTION = "owner"
OWNER_ID = "tenant"
CHECK_SECONDS = 5.0
DB_NAME = re.compile(r"[A-Za-z0-9_-]{1,63}")
SCHEMES = ("mongodb://", SRV_SCHEME)
AMBIGUOUS = re.compile(r"[;#\\\s\x00-\x1f\x7f]")
"""What URI parsers understand differently, or do not expect."""
REFUSED = {UNAUTHORIZED, AUTHENTICATION_FAILED}


def encrypt_uri(cipher: FieldCipher, uri: str, tenant_id: ObjectId) -> EncryptedField:
    """Return a tenant's URI as its record keeps it."""
    return cipher.encrypt(uri, record_id=tenant_id, field=FIELD)


def decrypt_uri(
    cipher: FieldCipher, encrypted: EncryptedField | None, tenant_id: ObjectId
) -> str | None:
    """Return the URI again; None for a tenant without one. Raises DecryptionFailed."""
    return cipher.decrypt(encrypted, record_id=tenant_id, field=FIELD) if encrypted else None


def check_uri(uri: str, allowed: Sequence[str]) -> str | None:
    """Return the database that the URI names, None when it names none.

    Raises ValidationFailed for a URI that is not taken. Nothing is connected to, but the DNS is
    asked for the servers of a `mongodb+srv` host that is allowed.
    """
    if not allowed:
        raise _refusal("is not offered here: TENANT_URI_ALLOWED_HOSTS lists no host")
    if not uri.startswith(SCHEMES):
        raise _refusal("must begin with mongodb:// or mongodb+srv://")
    if AMBIGUOUS.search(uri):
        raise _refusal("has a character that must be written as %XX")
    if uri.startswith(SRV_SCHEME):  # before its servers are looked up
        _ensure_allowed([(_srv_name(uri), None)], allowed)
    parsed = _understood(uri)
    if len(parsed["nodelist"]) > MAX_MEMBERS:
        raise _refusal(f"leads to more than {MAX_MEMBERS} servers")
    _ensure_allowed(parsed["nodelist"], allowed)
    if not parsed["username"] or not parsed["password"]:
        raise _refusal("needs a user and a password")
    name: str | None = parsed["database"]
    if parsed["collection"] or name in RESERVED_DATABASES:
        raise _refusal("must name no collection and none of MongoDB's own databases")
    if name and not DB_NAME.fullmatch(name):
        raise _refusal("names a database otherwise than by 1 to 63 letters, digits, '_' and '-'")
    return name


def _understood(uri: str) -> Mapping[str, Any]:
    """The URI as the driver understands it, which is what counts; the DNS may add to it."""
    try:
        mongodb_uris.check_uri(uri, TENANT)
        understood = parse_uri(uri, warn=False)
        ensure_options_taken(understood["options"], TENANT)
    except PyMongoError as error:
        raise _refusal("has a name that cannot be looked up") from error
    except ValueError as error:
        raise _refusal(str(error)) from error
    return understood


def ensure_usable(db: MongoDatabase, allowed: Sequence[str]) -> None:
    """Return if the server answers, takes the credentials, is a replica set (or a sharded
    cluster) whose members are all allowed. Raises ValidationFailed that says which is not."""
    with _explained(), answers_understood(), pymongo.timeout(CHECK_SECONDS):
        hello = db.client.admin.command("hello")
        db.command("ping")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise _refusal("is not a replica set, which transactions need")
    _ensure_allowed([*db.client.topology_description.server_descriptions()], allowed)


def claim(
    db: MongoDatabase,
    tenant_id: ObjectId,
    admin_db_name: str,
    *,
    copy_id: ObjectId | None = None,
) -> None:
    """Mark an empty database as this tenant's. `copy_id` tells it from another database of the
    same tenant.

    Raises AlreadyExists when it is some tenant's, and ValidationFailed when it holds anything
    else, or cannot be written to.
    """
    owner = {"_id": OWNER_ID, "tenantId": tenant_id, "adminDb": admin_db_name}
    if copy_id:
        owner["copyId"] = copy_id
    with _explained(), answers_understood(), pymongo.timeout(CHECK_SECONDS):
        taken = AlreadyExists("This database belongs to another tenant", incorrect_field=FIELD)
        if db[OWNER_COLLECTION].find_one({"_id": OWNER_ID}):
            raise taken
        if db.list_collection_names():
            raise _refusal(f"leads to the database {db.name}, which is not empty")
        try:
            db[OWNER_COLLECTION].insert_one(owner)
        except DuplicateKeyError as error:
            raise taken from error


def is_claimed_by(
    db: MongoDatabase, tenant_id: ObjectId, *, copy_id: ObjectId | None = None
) -> bool:
    """Whether the database is marked as this tenant's (and with this `copy_id`)."""
    owner = {"_id": OWNER_ID, "tenantId": tenant_id} | ({"copyId": copy_id} if copy_id else {})
    return db[OWNER_COLLECTION].find_one(owner) is not None


def is_claim(document: Mapping[str, Any]) -> bool:
    """Whether a document of OWNER_COLLECTION is what claim() writes there."""
    return (
        document.keys() - {"copyId"} == {"_id", "tenantId", "adminDb"}
        and document["_id"] == OWNER_ID
        and isinstance(document["tenantId"], ObjectId)
        and isinstance(document["adminDb"], str)
    )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what a server does wrong into what is wrong with the URI."""
    try:
        yield
    except OperationFailure as error:
        if error.code in REFUSED:
            raise _refusal("has a user or password that the server refuses") from error
        raise _refusal("leads to a server that refuses to be used") from error
    except ForeignServerRefused as error:
        raise _refusal(str(error)) from error
    except ConnectionFailure as error:
        raise _refusal("leads to no server that can be reached") from error
    except PyMongoError as error:
        if error.timeout:
            raise _refusal("leads to no server that answers in time") from error
        raise
    except ValueError as error:  # a password that SCRAM cannot take
        raise _refusal("has a user or password that no server can take") from error


def _srv_name(uri: str) -> str:
    """The name of which a `mongodb+srv` URI asks the DNS."""
    return re.split("[/?]", uri.removeprefix(SRV_SCHEME), maxsplit=1)[0].rpartition("@")[2]


def _ensure_allowed(hosts: Sequence[tuple[str, int | None]], allowed: Sequence[str]) -> None:
    for host, port in hosts:
        if not is_allowed((host, port), allowed):
            raise _refusal("leads to a host that TENANT_URI_ALLOWED_HOSTS does not list")


def _refusal(message: str) -> ValidationFailed:
    return ValidationFailed.of_field(FIELD, message)
