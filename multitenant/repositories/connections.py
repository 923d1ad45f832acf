"""The connections of a client, where PyMongo does not let one get at them otherwise."""

from typing import Any

from pymongo import MongoClient


def pools_of(client: MongoClient[Any]) -> list[Any]:
    """The pool of each server. PyMongo would tell of them by events as well, which cost every
    operation some 30 µs; a test compares what this says with what mongod counts."""
    topology = client._topology  # noqa: SLF001
    return [server.pool for server in [*topology._servers.values()]] if topology else []  # noqa: SLF001


def drop_connections(client: MongoClient[Any]) -> None:
    """Use no connection again that was made before now; what is under way ends undisturbed.

    What PyMongo has learnt of a server when it connected, it believes for as long as the connection
    is open. If that was in the moment in which the server was primary no more and not yet a
    secondary, it is that the server knows no sessions: then every transaction on that connection
    fails, and no write is repeated, long after the server is the primary again.
    """
    for pool in pools_of(client):
        pool.reset()
