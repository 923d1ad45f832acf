"""Employees."""

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.tenant.employees import EmployeeDocument


def up(db: MongoDatabase) -> None:
    """Create the collection with indexes; may run again."""
    Model(db, EmployeeDocument).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Drop it, with all that is in it."""
    Model(db, EmployeeDocument).collection.drop()
