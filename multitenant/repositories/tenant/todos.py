"""To-do items in a tenant's database."""

from typing import Any

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase, MongoDocument, utc_now
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.todos import TodoDocument


def _todos(db: MongoDatabase) -> Model:
    return Model(db, TodoDocument)


def insert_todo(db: MongoDatabase, **fields: Any) -> MongoDocument:
    """Insert a to-do item and return it."""
    now = utc_now()
    return _todos(db).insert(**fields, created_at=now, updated_at=now)


def find_todo(db: MongoDatabase, todo_id: ObjectId) -> MongoDocument | None:
    """Return the to-do item, None when there is none."""
    return _todos(db).collection.find_one({"_id": todo_id})


def list_todos(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of to-do items, oldest first."""
    return _todos(db).find_page({}, query)


def update_todo(db: MongoDatabase, todo_id: ObjectId, **changes: Any) -> MongoDocument | None:
    """Change fields (None removes one) and return the item, None when there is none."""
    return _todos(db).update({"_id": todo_id}, **changes)


def delete_todo(db: MongoDatabase, todo_id: ObjectId) -> MongoDocument | None:
    """Delete the item and return it as it was, None when there was none."""
    return _todos(db).collection.find_one_and_delete({"_id": todo_id})
