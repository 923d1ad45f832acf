"""The rules of to-do items."""

from bson import ObjectId

from multitenant.errors import NotFound
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import todos as repository
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.todos import NewTodo, TodoChanges


def add_todo(db: MongoDatabase, new: NewTodo) -> MongoDocument:
    """Create a to-do item."""
    return repository.insert_todo(db, title=new.title, done=new.done, due_at=new.due_at)


def list_todos(db: MongoDatabase, query: PageQuery) -> Page:
    """Return a page of to-do items, oldest first."""
    return repository.list_todos(db, query)


def get_todo(db: MongoDatabase, todo_id: ObjectId) -> MongoDocument:
    """Return the to-do item; raises NotFound."""
    return _existing(repository.find_todo(db, todo_id))


def change_todo(db: MongoDatabase, todo_id: ObjectId, changes: TodoChanges) -> MongoDocument:
    """Change what `changes` names and return the item; raises NotFound."""
    return _existing(repository.update_todo(db, todo_id, **changes.changes()))


def delete_todo(db: MongoDatabase, todo_id: ObjectId) -> MongoDocument:
    """Delete the to-do item and return it as it was; raises NotFound."""
    return _existing(repository.delete_todo(db, todo_id))


def _existing(todo: MongoDocument | None) -> MongoDocument:
    if todo is None:
        raise NotFound("There is no such to-do item")
    return todo
