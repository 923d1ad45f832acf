"""The rules of to-do items."""

from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant.todos import todos
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.todos import NewTodo, TodoChanges


def add_todo(db: MongoDatabase, new: NewTodo) -> MongoDocument:
    """Create a to-do item."""
    return todos.insert(db, **dict(new))


def list_todos(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of to-do items, oldest first."""
    return todos.find_page(db, query)


def get_todo(db: MongoDatabase, todo_id: ObjectId) -> MongoDocument:
    """Return the to-do item; raises NotFound."""
    return todos.get(db, todo_id)


def change_todo(db: MongoDatabase, todo_id: ObjectId, changes: TodoChanges) -> MongoDocument:
    """Change what `changes` names and return the item; raises NotFound."""
    return todos.update(db, todo_id, **changes.changes())


def delete_todo(db: MongoDatabase, todo_id: ObjectId) -> MongoDocument:
    """Delete the to-do item and return it as it was; raises NotFound."""
    return todos.delete(db, todo_id)
