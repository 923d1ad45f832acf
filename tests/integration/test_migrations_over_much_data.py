"""Migrations of the admin database, where there is much in it."""

from multitenant.migrations.admin import m0004_indexes
from multitenant.repositories.indexes import find_drift
from multitenant.schemas.admin import DOCUMENTS
from multitenant.tenancy.migrations import ADMIN_MIGRATIONS, pending_migrations
from tests.conftest import Client
from tests.integration.conftest import Command

OPERATION_TIMEOUT_MS = 2000


def test_indexes_may_take_longer_than_an_operation(
    command: Command, environment: dict[str, str], mongo: Client
) -> None:
    """As over an audit log of years. MongoDB gives up an index with the command that makes it, so
    the next attempt would begin anew, and fail again."""
    db = mongo[environment["ADMIN_DB_NAME"]]
    m0004_indexes.down(db)
    db.migrations.delete_one({"name": "m0004_indexes"})
    assert pending_migrations(db, ADMIN_MIGRATIONS)
    slow = {
        "failCommands": ["createIndexes"],
        "appName": "multitenant",
        "blockConnection": True,
        "blockTimeMS": OPERATION_TIMEOUT_MS + 500,
    }
    mongo.admin.command("configureFailPoint", "failCommand", mode={"times": 1}, data=slow)
    try:
        result = command("init", env={"OPERATION_TIMEOUT_MS": str(OPERATION_TIMEOUT_MS)})
    finally:
        mongo.admin.command("configureFailPoint", "failCommand", mode="off")
    assert result.exit_code == 0, result.output
    assert not pending_migrations(db, ADMIN_MIGRATIONS)
    assert find_drift(db, DOCUMENTS) == []
