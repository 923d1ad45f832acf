"""Transactions across the databases of one cluster."""

from collections.abc import Callable
from typing import TypeVar

import pymongo
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from multitenant.tenancy.placement import Client

T = TypeVar("T")


def run_transaction(client: Client, work: Callable[[], T], *, seconds: float) -> T:
    """Run `work` in one transaction, commit, and return its result.

    Every operation of this thread on `client` takes part; another client must not be used
    inside. `work` runs again after a transient error, and an unknown commit result is settled by
    committing again (MongoDB's rules, see PyMongo's `ClientSession.with_transaction`), all of it
    within `seconds`. An exception from `work` aborts the transaction and is raised.
    """
    with (
        pymongo.timeout(seconds),
        client.start_session() as session,
        session.bind(end_session=False),
    ):
        return session.with_transaction(
            lambda _: work(),
            read_concern=ReadConcern("snapshot"),
            write_concern=WriteConcern("majority"),
        )
