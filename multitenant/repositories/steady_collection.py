"""A collection to which a document can be written while the primary steps down."""

from collections.abc import Callable
from typing import Any, TypeVar

from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.errors import NotPrimaryError

from multitenant.repositories.connections import drop_connections
from multitenant.repositories.error_codes import NOT_WRITABLE_PRIMARY

T = TypeVar("T")


class SteadyCollection(Collection[dict[str, Any]]):
    """Does a write once more that a server has refused for no longer being the primary.

    Mostly PyMongo does that, but not on a connection that was made in the middle of an election
    (see connections.py).
    """

    def insert_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return _steadily(self.database.client, super().insert_one, *args, **kwargs)

    def update_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return _steadily(self.database.client, super().update_one, *args, **kwargs)

    def delete_one(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return _steadily(self.database.client, super().delete_one, *args, **kwargs)

    def find_one_and_update(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return _steadily(self.database.client, super().find_one_and_update, *args, **kwargs)

    def find_one_and_delete(self, *args: Any, **kwargs: Any) -> Any:
        """See Collection."""
        return _steadily(self.database.client, super().find_one_and_delete, *args, **kwargs)


def _steadily(client: MongoClient[Any], write: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    try:
        return write(*args, **kwargs)
    except NotPrimaryError as error:
        # One that was interrupted may be done; one that was refused is not. A transaction begins
        # anew as a whole.
        refused = isinstance(error.details, dict) and error.details["code"] == NOT_WRITABLE_PRIMARY
        if not refused or error.has_error_label("TransientTransactionError"):
            raise
    drop_connections(client)
    return write(*args, **kwargs)
