"""Transactions on one client: over as many collections and databases as it can reach."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.errors import PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from multitenant.repositories.model import MongoDatabase, MongoDocument

T = TypeVar("T")


def in_transaction(db: MongoDatabase, work: Callable[[], T]) -> T:
    """Run `work`, which writes to `db` and nowhere else, in one transaction, and return its
    result; it has as long as any one operation of the database's client."""
    return run_transaction(db.client, work, seconds=db.client.options.timeout)


def run_transaction(
    client: MongoClient[MongoDocument], work: Callable[[], T], *, seconds: float | None
) -> T:
    """Run `work` in one transaction, commit, and return its result.

    Every operation of this thread on `client` takes part; another client must not be used
    inside. `work` runs again after a transient error, and an unknown commit result is settled by
    committing again (MongoDB's rules, see PyMongo's `ClientSession.with_transaction`), all of it
    within `seconds` (None: however long it takes). An exception from `work` aborts the
    transaction and is raised.
    """
    with (
        pymongo.timeout(seconds),
        client.start_session() as session,
        session.bind(end_session=False),
    ):
        try:
            return session.with_transaction(
                lambda _: work(),
                read_concern=ReadConcern("snapshot"),
                write_concern=WriteConcern("majority"),
            )
        except PyMongoError as error:
            if not may_be_committed(error):
                # A refused commit leaves the transaction open, and what it locked.
                with contextlib.suppress(PyMongoError):
                    client.admin.command("killSessions", [session.session_id])
            raise


def may_be_committed(error: BaseException) -> bool:
    """Whether a transaction that raised `error` may have taken effect all the same."""
    return isinstance(error, PyMongoError) and error.has_error_label(
        "UnknownTransactionCommitResult"
    )
