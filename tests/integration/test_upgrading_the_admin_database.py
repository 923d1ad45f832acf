"""The admin database of an older platform, which may be large, gets the indexes of this release."""

import os

from pymongo import MongoClient
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.indexes import find_drift
from multitenant.repositories.model import MongoDocument
from multitenant.schemas.admin import DOCUMENTS
from multitenant.tenancy.migrations import ADMIN_MIGRATIONS, migrate

HOUR_MS = 3_600_000


class IndexTimes(CommandListener):
    """How long MongoDB may take for each command that makes indexes."""

    def __init__(self) -> None:
        self.allowed_ms: list[int] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command_name == "createIndexes":
            self.allowed_ms.append(int(event.command["maxTimeMS"]))

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Nothing to note."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Nothing to note."""


def test_indexes_of_what_may_be_large_take_longer_than_an_operation(mongod: EmbeddedServer) -> None:
    times = IndexTimes()
    client: MongoClient[MongoDocument] = MongoClient(
        mongod.uri, timeoutMS=10_000, tz_aware=True, event_listeners=[times]
    )
    with client:
        db = client[f"older{os.getpid()}"]
        try:
            migrate(db, ADMIN_MIGRATIONS)
            assert not list(find_drift(db, DOCUMENTS))
            of_release = ADMIN_MIGRATIONS[3]
            of_release.down(db)
            assert len(list(find_drift(db, DOCUMENTS))) == 14
            times.allowed_ms.clear()
            for _ in range(2):  # it may run again after a crash
                of_release.up(db)
            assert not list(find_drift(db, DOCUMENTS))
            assert len(times.allowed_ms) == 7
            assert min(times.allowed_ms) > HOUR_MS
        finally:
            client.drop_database(db.name)
