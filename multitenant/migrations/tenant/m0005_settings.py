"""Settings."""

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.tenant.settings import SettingDocument


def up(db: MongoDatabase) -> None:
    """Create the collection with indexes; may run again."""
    Model(db, SettingDocument).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Drop it, with all that is in it."""
    Model(db, SettingDocument).collection.drop()
