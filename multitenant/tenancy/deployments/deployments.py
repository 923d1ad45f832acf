"""What is behind a URI: whether it can serve as a cluster, and which deployment it is."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import pymongo
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
)

from multitenant import mongodb_uris
from multitenant.addresses import format_address
from multitenant.errors import ValidationFailed
from multitenant.mongodb_uris import PLATFORM, X509
from multitenant.repositories.error_codes import AUTHENTICATION_FAILED, UNAUTHORIZED
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.deployments.clients import Client

CHECK_SECONDS = 5.0
# What readWriteAnyDatabase and dbAdminAnyDatabase give, as far as the platform needs it.
NEEDED = frozenset(
    {"find", "insert", "update", "remove", "createCollection", "createIndex", "dropIndex"}
    | {"changeStream"}
    | {"listCollections", "listIndexes", "dropCollection", "dropDatabase", "collStats", "dbStats"}
)
# What userAdminAnyDatabase and clusterMonitor give, for dedicated tenants.
NEEDED_FOR_USERS = frozenset({"createUser", "dropUser", "grantRole", "viewUser"})
NEEDED_OF_CLUSTER = frozenset({"inprog"})


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a deployment is known again, whatever URI leads to it."""

    id: str | None
    """A replica set's or sharded cluster's own id; None where the user may not ask for it."""
    members: tuple[str, ...]
    """Its servers, as it calls them itself; with the name of the replica set."""

    @classmethod
    def of(cls, record: MongoDocument) -> Self:
        """That of a cluster's record."""
        stored = record["identity"]
        return cls(stored.get("id"), tuple(stored.get("members", ())))

    def is_same(self, other: Self) -> bool:
        """Whether both are one deployment: by the ids if both are known, else by a member that both
        have."""
        if self.id and other.id:
            return self.id == other.id
        return not set(self.members).isdisjoint(other.members)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What a URI leads to."""

    identity: Identity
    dedicated: bool
    """Whether the platform may make MongoDB users there, as dedicated tenants need."""


def check_uri(uri: str) -> None:
    """Return if that is a URI that logs in; raise ValidationFailed that says what is wrong, without
    any of it but an option's name."""
    try:
        understood = mongodb_uris.check_uri(uri, PLATFORM)
    except ValueError as error:
        raise _refusal(str(error)) from error
    if not understood["username"] and understood["options"].get("authMechanism") != X509:
        raise _refusal("names no user: the platform works with authentication only")


def examine(client: Client) -> Deployment:
    """Return what the client leads to, after making sure that it can be a cluster: it answers, is
    a replica set or a sharded cluster, and its user may do what the platform does.

    Raises ValidationFailed that says which is not so. Writes nothing.
    """
    with explained(), pymongo.timeout(CHECK_SECONDS):
        hello = client.admin.command("hello")
        if "setName" not in hello and hello.get("msg") != "isdbgrid":
            raise _refusal("leads to a server that is no replica set, which transactions need")
        anywhere, of_cluster = privileges(client)
        if missing := NEEDED - anywhere:
            raise _refusal(
                "has a user who lacks the roles readWriteAnyDatabase and dbAdminAnyDatabase (it may"
                f" not {', '.join(sorted(missing))} in every database)"
            )
        return Deployment(
            identity=identify(client),
            dedicated=anywhere >= NEEDED_FOR_USERS and of_cluster >= NEEDED_OF_CLUSTER,
        )


def identify(client: Client) -> Identity:
    """Return which deployment the client leads to. Raises PyMongo's errors."""
    hello = client.admin.command("hello")
    hosts = hello.get("hosts") or [format_address(*node) for node in client.nodes]
    of = hello.get("setName", "sharded")
    return Identity(_own_id(client, hello), tuple(sorted(f"{of}/{host}" for host in hosts)))


def privileges(client: Client, db_name: str = "") -> tuple[frozenset[str], frozenset[str]]:
    """What the user may do in any database (or in that one), and with the deployment as a whole.
    Raises ValidationFailed where nobody has logged in."""
    status = client.admin.command("connectionStatus", showPrivileges=True)["authInfo"]
    if not status["authenticatedUsers"]:
        raise _refusal("leads to a server on which nobody has logged in")
    anywhere: set[str] = set()
    of_cluster: set[str] = set()
    for privilege in status["authenticatedUserPrivileges"]:
        resource, actions = privilege["resource"], privilege["actions"]
        everything = [{"db": name, "collection": ""} for name in ("", db_name)]
        if resource.get("anyResource") or resource in everything:
            anywhere.update(actions)
        if resource.get("anyResource") or resource.get("cluster"):
            of_cluster.update(actions)
    return frozenset(anywhere), frozenset(of_cluster)


def _own_id(client: Client, hello: dict[str, Any]) -> str | None:
    try:
        if "setName" in hello:
            config = client.admin.command("replSetGetConfig")["config"]
            return str(config["settings"]["replicaSetId"])
        version = client["config"]["version"].find_one({}) or {}
        return str(version["clusterId"]) if "clusterId" in version else None
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return None


@contextmanager
def explained() -> Iterator[None]:
    """Turn what the driver or a server complains of into what is wrong with the URI."""
    try:
        yield
    except OperationFailure as error:
        if error.code == AUTHENTICATION_FAILED:
            raise _refusal("has a user or password that the server refuses") from error
        raise _refusal("leads to a server that refuses to be used") from error
    except ConnectionFailure as error:
        raise _refusal("leads to no server that can be reached") from error
    except PyMongoError as error:
        if error.timeout:
            raise _refusal("leads to no server that answers in time") from error
        if isinstance(error, ConfigurationError):
            raise _refusal("has options that do not work together, or not here") from error
        raise
    except (ValueError, OSError) as error:  # a password that SCRAM cannot take, a missing file
        raise _refusal("has a user, password or option that does not work here") from error


def _refusal(message: str) -> ValidationFailed:
    return ValidationFailed.of_field("uri", message, called="The URI")
