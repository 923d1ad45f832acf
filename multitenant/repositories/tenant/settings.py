"""Settings in a tenant's database."""

from typing import Any

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.settings import SettingDocument


def _settings(db: MongoDatabase) -> Model:
    return Model(db, SettingDocument)


def list_settings(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of settings, oldest first."""
    return _settings(db).find_page({}, query)


def find_setting(db: MongoDatabase, key: str) -> MongoDocument | None:
    """Return the setting, None when there is none."""
    return _settings(db).find_one({"key": key})


def put_setting(db: MongoDatabase, key: str, value: Any) -> MongoDocument:
    """Set the key to the value and return the setting."""
    return _settings(db).upsert({"key": key}, key=key, value=value)


def delete_setting(db: MongoDatabase, key: str) -> MongoDocument | None:
    """Delete the setting and return it as it was, None when there was none."""
    return _settings(db).delete_one({"key": key})
