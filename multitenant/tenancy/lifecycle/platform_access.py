"""The platform's own way into one tenant's database, outside of requests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pymongo

from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.contents.copying import MAX_SECONDS
from multitenant.tenancy.deployments.clusters import EXTERNAL_CLUSTER
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.identity import ensure_own_database
from multitenant.tenancy.routing.connection_manager import ConnectionManager

OWN_SERVER_SECONDS = 3600.0
"""For all that is done with a database on a server of the tenant's own, which may stop answering
at any moment."""


@contextmanager
def tenant_database(
    connections: ConnectionManager, cipher: FieldCipher, record: MongoDocument
) -> Iterator[MongoDatabase]:
    """Yield a tenant's database, with all the rights that the platform has there and no time
    limit of a request. Raises DatabaseLost where it is not the tenant's (see identity.py)."""
    with unchecked_database(connections, cipher, record) as db:
        ensure_own_database(connections.admin_db, db, record["_id"])
        yield db


@contextmanager
def unchecked_database(
    connections: ConnectionManager, cipher: FieldCipher, record: MongoDocument
) -> Iterator[MongoDatabase]:
    """Yield the same, whatever has become of it. A server that does not answer is not waited for
    any longer than by a request."""
    uri = decrypt_uri(cipher, record.get("dbUri"), record["_id"])
    seconds = OWN_SERVER_SECONDS if record["cluster"] == EXTERNAL_CLUSTER else MAX_SECONDS
    with (
        connections.operator_client(record["cluster"], uri) as client,
        widened_scope(record["dbName"]),
    ):
        db = client[record["dbName"]]
        db.command("ping")
        with pymongo.timeout(seconds):
            yield db
