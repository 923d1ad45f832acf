"""What checks look at: the platform and, for those of a cluster, which one."""

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property

from bson import ObjectId
from pymongo.errors import OperationFailure

from multitenant.config import Settings
from multitenant.repositories.admin import provisionings
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.clients import Client
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.lifecycle.orphans import drop_failed_attempt
from multitenant.tenancy.operations.doctor.heartbeats import Heartbeats
from multitenant.tenancy.routing.connection_manager import ConnectionManager


@dataclass(frozen=True)
class Subject:
    """The platform as one check sees it."""

    settings: Settings
    connections: ConnectionManager
    cipher: FieldCipher
    heartbeats: Heartbeats
    cluster: str = DEFAULT_CLUSTER
    everything: bool = False
    """Whether to look into all tenants' databases rather than a sample."""
    _opened: ExitStack = field(default_factory=ExitStack, init=False)

    @cached_property
    def client(self) -> Client:
        """The cluster's client, until close()."""
        opened = self.connections.operator_client(self.cluster, None)
        return self._opened.enter_context(opened)

    @property
    def admin_db(self) -> MongoDatabase:
        """The admin database, wherever the cluster is."""
        return self.connections.admin_db

    @property
    def uri_setting(self) -> str:
        """What a person calls the URI of the cluster."""
        default = self.cluster == DEFAULT_CLUSTER
        return "ADMIN_DB_URI" if default else f"the URI of the cluster {self.cluster}"

    @cached_property
    def scratch(self) -> "ScratchDatabase":
        """A database on the cluster to try things in."""
        name = f"{self.settings.tenant_db_prefix}{(scratch_id := ObjectId())}"
        db = self.client[name]
        return ScratchDatabase(self.connections, self.cipher, self.cluster, db, scratch_id)

    def close(self) -> None:
        """Drop what was made to try things in, where no check has come to it, and let go of the
        client. Raises PyMongo's errors."""
        with self._opened:
            if "scratch" in vars(self):
                self.scratch.drop()


@dataclass
class ScratchDatabase:
    """A database under a name that a tenant's might have. It is noted before it is made, as a
    tenant's is, so `multitenant tenants gc` drops it where a killed process could not."""

    connections: ConnectionManager
    cipher: FieldCipher
    cluster: str
    db: MongoDatabase
    id: ObjectId
    _note: MongoDocument | None = field(default=None)

    def note(self) -> None:
        """Note in the admin database that it is about to be made."""
        self._note = provisionings.insert_provisioning(
            self.connections.admin_db, self.id, db_name=self.db.name, cluster=self.cluster
        )

    def make(self, collection: str) -> None:
        """Make it, with that collection. Raises OperationFailure where MongoDB refuses; then there
        is nothing to note any more."""
        try:
            self.db.create_collection(collection)
        except OperationFailure:
            self._note = None
            provisionings.delete_provisioning(self.connections.admin_db, self.id)
            raise

    def drop(self) -> None:
        """Drop it with its users, and its note. May be done again."""
        if self._note is not None:
            drop_failed_attempt(self.connections, self.cipher, self.id, self._note)
            self._note = None
