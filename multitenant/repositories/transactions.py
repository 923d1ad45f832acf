"""Transactions on one client: over as many collections and databases as it can reach."""

import contextlib
from collections.abc import Callable
from typing import TypeVar

import pymongo
from pymongo import MongoClient
from pymongo.errors import (
    ConfigurationError,
    PyMongoError,
    ServerSelectionTimeoutError,
    WriteConcernError,
)
from pymongo.read_concern import ReadConcern

from multitenant.repositories.connections import drop_connections
from multitenant.repositories.durability import MAJORITY, left_to_transaction
from multitenant.repositories.model import MongoDatabase, MongoDocument

T = TypeVar("T")

UNKNOWN_RESULT = "UnknownTransactionCommitResult"
KILL_SECONDS = 1.0
"""How long a request that has failed may take to leave nothing behind."""


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
    transaction and is raised. After an error of MongoDB's nothing of it stays open there, locking
    what it has written for everybody else.
    """
    try:
        return _run(client, work, seconds)
    except ConfigurationError:  # of a connection that was made in the middle of an election
        drop_connections(client)
    return _run(client, work, seconds)


def _run(client: MongoClient[MongoDocument], work: Callable[[], T], seconds: float | None) -> T:
    with client.start_session() as session:
        try:
            with (
                pymongo.timeout(seconds),
                session.bind(end_session=False),
                left_to_transaction(),
            ):
                return session.with_transaction(
                    lambda _: work(),
                    read_concern=ReadConcern("snapshot"),
                    write_concern=MAJORITY,
                )
        except PyMongoError as error:
            # Only a commit has a write concern: it was done, and may yet be undone. Of some reasons
            # for that PyMongo does not say so, such as too few members (100).
            if isinstance(error, WriteConcernError):
                error._add_error_label(UNKNOWN_RESULT)  # noqa: SLF001  # nothing public does
            # PyMongo aborts it only while there is time left, and never after a refused commit. If
            # it was committed without anybody being told, this changes nothing; without a primary
            # there is nothing to do.
            if not isinstance(error, ServerSelectionTimeoutError):
                with contextlib.suppress(PyMongoError), pymongo.timeout(KILL_SECONDS):
                    client.admin.command("killSessions", [session.session_id])
            raise


def may_be_committed(error: BaseException) -> bool:
    """Whether a transaction that raised `error` may have taken effect all the same."""
    return isinstance(error, PyMongoError) and error.has_error_label(UNKNOWN_RESULT)
