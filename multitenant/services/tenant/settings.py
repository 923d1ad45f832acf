"""The rules of settings."""

from typing import Any

from multitenant.errors import NotFound
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import settings as repository
from multitenant.schemas.paging import Page, PageQuery


def list_settings(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of settings, in the order in which they were first set."""
    return repository.list_settings(db, query)


def get_setting(db: MongoDatabase, key: str) -> MongoDocument:
    """Return the setting; raises NotFound."""
    return _existing(repository.find_setting(db, key))


def put_setting(db: MongoDatabase, key: str, value: Any) -> MongoDocument:
    """Set the key to the value, whether it was set before or not, and return the setting."""
    return repository.put_setting(db, key, value)


def delete_setting(db: MongoDatabase, key: str) -> MongoDocument:
    """Delete the setting and return it as it was; raises NotFound."""
    return _existing(repository.delete_setting(db, key))


def _existing(setting: MongoDocument | None) -> MongoDocument:
    if setting is None:
        raise NotFound("There is no such setting")
    return setting
