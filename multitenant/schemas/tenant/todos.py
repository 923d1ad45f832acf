"""To-do items: the stored document, payloads and answers."""

from mongoengine import BooleanField, DateTimeField, StringField
from pydantic import Field, StrictBool

from multitenant.schemas.document import DatedDocument
from multitenant.schemas.payload import UNSET, Changes, Id, Line, Payload, Time
from multitenant.schemas.stored import StoredAnswer


class TodoDocument(DatedDocument):
    """A to-do item as the tenant's database keeps it."""

    meta = {"collection": "todos", "indexes": [["created_at", "_id"]]}

    title = StringField(required=True, min_length=1, max_length=200)
    done = BooleanField(required=True, default=False)
    due_at = DateTimeField(db_field="dueAt")


class NewTodo(Payload):
    """A to-do item to create."""

    example = {"title": "Buy milk", "dueAt": "2030-01-31T12:00:00Z"}

    title: Line = Field(examples=["Buy milk"])
    done: StrictBool = False
    due_at: Time | None = None


class TodoChanges(Changes):
    """What may change; `dueAt: null` removes it."""

    example = {"done": True}

    title: Line = UNSET
    done: StrictBool = UNSET
    due_at: Time | None = None


class TodoAnswer(StoredAnswer):
    """A to-do item."""

    id: Id
    title: str
    done: bool
    due_at: Time | None = None
    created_at: Time
    updated_at: Time
