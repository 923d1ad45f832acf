"""Employees: the stored document, payloads and answers."""

from typing import Annotated

from mongoengine import StringField
from pydantic import Field

from multitenant.schemas.document import DatedDocument
from multitenant.schemas.payload import UNSET, Changes, Email, Id, Line, Payload, Time
from multitenant.schemas.stored import StoredAnswer


class EmployeeDocument(DatedDocument):
    """Somebody who works for the tenant; not a user, and no account."""

    meta = {
        "collection": "employees",
        "indexes": [["created_at", "_id"], {"fields": ["email"], "unique": True}],
    }

    name = StringField(required=True, min_length=1, max_length=200)
    email = StringField(required=True, max_length=254)
    position = StringField(min_length=1, max_length=200)
    phone = StringField(min_length=1, max_length=40)


Phone = Annotated[Line, Field(max_length=40)]


class NewEmployee(Payload):
    """An employee to add."""

    example = {
        "name": "Wile E.",
        "email": "wile@acme.example",
        "position": "Tester",
    }

    name: Line = Field(examples=["Wile E."])
    email: Email = Field(examples=["wile@acme.example"])
    position: Line | None = None
    phone: Phone | None = None


class EmployeeChanges(Changes):
    """What may change; `null` removes a position or a phone number."""

    example = {"position": "Head of testing"}

    name: Line = UNSET
    email: Email = UNSET
    position: Line | None = None
    phone: Phone | None = None


class EmployeeAnswer(StoredAnswer):
    """An employee."""

    id: Id
    name: str
    email: str
    position: str | None = None
    phone: str | None = None
    created_at: Time
    updated_at: Time
