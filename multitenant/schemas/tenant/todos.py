"""To-do items: the stored document, payloads and answers."""

from mongoengine import BooleanField, DateTimeField, Document, StringField
from pydantic import Field, StrictBool

from multitenant.schemas.payload import UNSET, Answer, Changes, Id, Line, Payload, Time


class TodoDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """A to-do item as the tenant's database keeps it."""

    meta = {
        "collection": "todos",
        "auto_create_index": False,
        "indexes": [["created_at", "_id"]],
    }

    title = StringField(required=True, min_length=1, max_length=200)
    done = BooleanField(required=True, default=False)
    due_at = DateTimeField(db_field="dueAt")
    created_at = DateTimeField(db_field="createdAt", required=True)
    updated_at = DateTimeField(db_field="updatedAt", required=True)


class NewTodo(Payload):
    """A to-do item to create."""

    title: Line = Field(examples=["Buy milk"])
    done: StrictBool = False
    due_at: Time | None = None


class TodoChanges(Changes):
    """What may change; `dueAt: null` removes it."""

    title: Line = UNSET
    done: StrictBool = UNSET
    due_at: Time | None = None


class TodoAnswer(Answer):
    """A to-do item."""

    id: Id
    title: str
    done: bool
    due_at: Time | None = None
    created_at: Time
    updated_at: Time
