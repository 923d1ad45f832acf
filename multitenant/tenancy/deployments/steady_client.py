"""A MongoClient that keeps what the platform promises, whatever its URI says, while a primary
steps down, and whatever was withdrawn since a request was checked."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import (
    AutoReconnect,
    ConnectionFailure,
    InvalidOperation,
    NotPrimaryError,
    OperationFailure,
    ProtocolError,
)
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from multitenant.repositories.connections import drop_connections
from multitenant.repositories.durability import write_concern
from multitenant.repositories.error_codes import NOT_WRITABLE_PRIMARY
from multitenant.repositories.model import MongoDocument
from multitenant.repositories.turns import COLLECTION as TURNS
from multitenant.tenancy.deployments.foreign_servers import (
    ForeignServerRefused,
    ForeignServers,
)
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted

T = TypeVar("T")
OnOutcome = Callable[[bool], None]


class SteadyClient(MongoClient[MongoDocument]):
    """A client whose URI has no say in how reads and writes are done. Many providers put
    `w=majority` there, which PyMongo would send with each operation of a transaction, and MongoDB
    refuses that."""

    def __init__(
        self,
        *args: Any,
        on_outcome: OnOutcome | None = None,
        foreign: ForeignServers | None = None,
        **options: Any,
    ) -> None:
        """`on_outcome` hears of each operation whether a server has answered it; `foreign` are the
        servers that it may lead to, where they are a tenant's own."""
        self._on_outcome: OnOutcome = on_outcome or (lambda _: None)
        self.foreign = foreign
        super().__init__(*args, **options)

    def _retry_internal(self, *args: Any, **options: Any) -> Any:
        """Run one operation, whatever it is: PyMongo does all of them through this. An answer that
        is none is as good as no answer."""
        try:
            result = super()._retry_internal(*args, **options)
        except ConnectionFailure:
            self._on_outcome(False)
            raise
        except OperationFailure:
            self._on_outcome(True)
            raise
        except ProtocolError as error:
            self._on_outcome(False)
            raise AutoReconnect(str(error)) from error
        except InvalidOperation as error:
            if self.foreign and self.foreign.refused:
                self._on_outcome(False)
                raise ForeignServerRefused(self.foreign.refused) from error
            raise
        self._on_outcome(True)
        return result

    def _run_operation(self, *args: Any, **options: Any) -> Any:
        """Ask for the first or the next documents of a cursor."""
        response = super()._run_operation(*args, **options)
        if self.foreign:
            self.foreign.take_batch(response.docs[0])
        return response

    @property
    def write_concern(self) -> WriteConcern:
        """See repositories/durability.py: what is not said otherwise waits for a majority."""
        return write_concern()

    @property
    def read_concern(self) -> ReadConcern:
        """That of the deployment."""
        return ReadConcern()

    def __getitem__(self, name: str) -> "SteadyDatabase":
        """Return the database of that name."""
        return SteadyDatabase(self, name)


class SteadyDatabase(Database[MongoDocument]):
    """A database of such a client."""

    @property
    def write_concern(self) -> WriteConcern:
        """That of the moment: a database is there before the transaction that it takes part in."""
        return write_concern(super().write_concern)

    def __getitem__(self, name: str) -> "SteadyCollection":
        """Return the collection of that name."""
        return SteadyCollection(self, name)

    def get_collection(self, name: str, *args: Any, **options: Any) -> "SteadyCollection":
        """See Database."""
        return SteadyCollection(self, name, False, *args, **options)


class SteadyCollection(Collection[MongoDocument]):
    """Checks before a write that the request may still do it (see write_permission.py), and does
    a write once more that a server has refused for no longer being the primary.

    Mostly PyMongo does that, but not on a connection that was made in the middle of an election
    (see repositories/connections.py).
    """

    @property
    def write_concern(self) -> WriteConcern:
        """That of the moment, in the same way."""
        return write_concern(super().write_concern)

    def insert_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().insert_one, *args, **kwargs)

    def update_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().update_one, *args, **kwargs)

    def delete_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().delete_one, *args, **kwargs)

    def find_one_and_update(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().find_one_and_update, *args, **kwargs)

    def find_one_and_delete(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().find_one_and_delete, *args, **kwargs)

    def insert_many(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        self._ensure_permitted()
        return super().insert_many(*args, **kwargs)

    def update_many(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        self._ensure_permitted()
        return super().update_many(*args, **kwargs)

    def delete_many(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        self._ensure_permitted()
        return super().delete_many(*args, **kwargs)

    def replace_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().replace_one, *args, **kwargs)

    def find_one_and_replace(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return self._steadily(super().find_one_and_replace, *args, **kwargs)

    def bulk_write(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        self._ensure_permitted()
        return super().bulk_write(*args, **kwargs)

    def _ensure_permitted(self) -> None:
        """Taking a turn is left out: it is a lock, and what follows decides what is answered."""
        if self.name != TURNS:
            ensure_write_permitted(self.database.name)

    def _steadily(self, write: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        self._ensure_permitted()
        try:
            return write(*args, **kwargs)
        except NotPrimaryError as error:
            # One that was interrupted may be done; one that was refused is not. A transaction
            # begins anew as a whole.
            details = error.details
            refused = isinstance(details, Mapping) and details.get("code") == NOT_WRITABLE_PRIMARY
            if not refused or error.has_error_label("TransientTransactionError"):
                raise
        drop_connections(self.database.client)
        return write(*args, **kwargs)
