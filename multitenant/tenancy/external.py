"""Tenants' own MongoDB servers: which URIs are taken, and whose database is behind one.

The platform connects to what an operator names, so it is careful about it: only hosts that
TENANT_URI_ALLOWED_HOSTS lists, only options that neither read files of this machine nor use its
identity, only replica sets, and only an empty database, which is then marked as the tenant's.
"""

import contextlib
from collections.abc import Iterator, Sequence
from urllib.parse import parse_qsl, urlsplit

import pymongo
from bson import ObjectId
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    DuplicateKeyError,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)
from pymongo.uri_parser import parse_uri

from multitenant.config import RESERVED_DATABASES
from multitenant.errors import AlreadyExists, ValidationFailed
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.clients import Client

FIELD = "dbUri"
OWNER_COLLECTION = "owner"
OWNER_ID = "tenant"
CHECK_SECONDS = 5.0
MAX_DB_NAME_BYTES = 63
SCHEMES = ("mongodb", "mongodb+srv")
OPTIONS = ("replicaset", "authsource", "authmechanism", "tls", "ssl", "retrywrites", "w")
MECHANISMS = ("SCRAM-SHA-256", "SCRAM-SHA-1")
REFUSED = {13, 18}
"""MongoDB's codes for Unauthorized and AuthenticationFailed."""


def check_uri(uri: str, allowed: Sequence[str]) -> str | None:
    """Return the database that the URI names, None when it names none.

    Raises ValidationFailed for a URI that is not taken. Nothing is connected to, but the DNS is
    asked for the servers of a `mongodb+srv` host that is allowed.
    """
    if not allowed:
        raise _refusal("is not offered here: TENANT_URI_ALLOWED_HOSTS lists no host")
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise _refusal("is not a MongoDB URI") from error
    if parts.scheme not in SCHEMES:
        raise _refusal("must begin with mongodb:// or mongodb+srv://")
    _ensure_allowed(parts.netloc.rpartition("@")[2].split(","), allowed)
    _ensure_harmless(parse_qsl(parts.query, keep_blank_values=True))
    try:
        parsed = parse_uri(uri, warn=False)
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise _refusal("is not a MongoDB URI, or its name cannot be looked up") from error
    if not parsed["username"] or not parsed["password"]:
        raise _refusal("needs a user and a password")
    name: str | None = parsed["database"]
    if parsed["collection"] or name in RESERVED_DATABASES:
        raise _refusal("must name no collection and none of MongoDB's own databases")
    if name and len(name.encode()) > MAX_DB_NAME_BYTES:
        raise _refusal(f"names a database of more than {MAX_DB_NAME_BYTES} bytes")
    return name


def ensure_usable(db: MongoDatabase, allowed: Sequence[str]) -> None:
    """Return if the server answers, takes the credentials, is a replica set (or a sharded
    cluster) whose members are all allowed. Raises ValidationFailed that says which is not."""
    with _explained(), pymongo.timeout(CHECK_SECONDS):
        hello = db.client.admin.command("hello")
        db.command("ping")
    if "setName" not in hello and hello.get("msg") != "isdbgrid":
        raise _refusal("is not a replica set, which transactions need")
    _ensure_allowed([f"{host}:{port}" for host, port in _members(db.client)], allowed)


def claim(db: MongoDatabase, tenant_id: ObjectId, admin_db_name: str) -> None:
    """Mark an empty database as this tenant's.

    Raises AlreadyExists when it is some tenant's, and ValidationFailed when it holds anything
    else, or cannot be written to.
    """
    owner = {"_id": OWNER_ID, "tenantId": tenant_id, "adminDb": admin_db_name}
    with _explained(), pymongo.timeout(CHECK_SECONDS):
        others = set(db.list_collection_names()) - {OWNER_COLLECTION}
        if others:
            raise _refusal(f"leads to the database {db.name}, which is not empty")
        try:
            db[OWNER_COLLECTION].insert_one(owner)
        except DuplicateKeyError as error:
            raise AlreadyExists(
                "This database belongs to another tenant", incorrect_field=FIELD
            ) from error


def is_claimed_by(db: MongoDatabase, tenant_id: ObjectId) -> bool:
    """Whether the database is marked as this tenant's."""
    return db[OWNER_COLLECTION].find_one({"_id": OWNER_ID, "tenantId": tenant_id}) is not None


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what a server does wrong into what is wrong with the URI."""
    try:
        yield
    except OperationFailure as error:
        if error.code in REFUSED:
            raise _refusal("has a user or password that the server refuses") from error
        raise _refusal("leads to a server that refuses to be used") from error
    except ConnectionFailure as error:
        raise _refusal("leads to no server that can be reached") from error
    except PyMongoError as error:
        if error.timeout:
            raise _refusal("leads to no server that answers in time") from error
        raise


def _ensure_harmless(options: Sequence[tuple[str, str]]) -> None:
    """Refuse options that would read this machine's files, use its identity or weaken TLS."""
    for option, value in options:
        if option.lower() not in OPTIONS:
            raise _refusal(f"has an option that is not taken; taken are {', '.join(OPTIONS)}")
        if option.lower() == "authmechanism" and value not in MECHANISMS:
            raise _refusal(f"has an authMechanism other than {' and '.join(MECHANISMS)}")


def _members(client: Client) -> list[tuple[str, int | None]]:
    return list(client.topology_description.server_descriptions())


def _ensure_allowed(hosts: Sequence[str], allowed: Sequence[str]) -> None:
    for host in hosts:
        if not any(_fits(host.lower(), pattern) for pattern in allowed):
            raise _refusal("leads to a host that TENANT_URI_ALLOWED_HOSTS does not list")


def _fits(host: str, pattern: str) -> bool:
    """Whether `host`, with or without a port, is what the pattern allows: one host or, with
    `*.`, every host below a domain; on any port, or the one that it names."""
    name, _, port = host.partition(":")
    wanted_name, _, wanted_port = pattern.partition(":")
    if wanted_port and (port or "27017") != wanted_port:
        return False
    if wanted_name.startswith("*."):
        return name.endswith(wanted_name[1:]) and len(name) >= len(wanted_name)
    return name == wanted_name


def _refusal(message: str) -> ValidationFailed:
    return ValidationFailed(
        f"{FIELD} {message}",
        incorrect_field=FIELD,
        errors=[{"field": FIELD, "message": message}],
    )
