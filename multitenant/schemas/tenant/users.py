"""Users of a tenant: the stored document, payloads and answers."""

from typing import Annotated, Literal, get_args

from mongoengine import DateTimeField, Document, IntField, ObjectIdField, StringField
from pydantic import Field
from typing_extensions import TypeAliasType

from multitenant.schemas.payload import (
    UNSET,
    Absent,
    Changes,
    Email,
    GivenPassword,
    Id,
    NewPassword,
    Payload,
    Time,
)
from multitenant.schemas.stored import StoredAnswer

Role = TypeAliasType("Role", Literal["owner", "admin", "member"])
UserStatus = TypeAliasType("UserStatus", Literal["active", "invited", "disabled"])
ROLES: tuple[str, ...] = get_args(Role.__value__)
STATUSES: tuple[str, ...] = get_args(UserStatus.__value__)


class UserDocument(Document):  # type: ignore[misc]  # MongoEngine has no type hints
    """A user as the tenant's database keeps them.

    `tokenVersion` grows whenever every token of the user must die; tokens carry it. Those of
    `exceptFamily` live on: the session that has changed the password.
    `invitationId` is the id of the one invitation token that may set the first password. It becomes
    `unansweredInvitation` until the user is about to be told that it has.
    """

    meta = {
        "collection": "users",
        "auto_create_index": False,
        "indexes": [
            {"fields": ["email"], "unique": True},
            ["created_at", "_id"],
            ["role", "status"],
        ],
    }

    id = ObjectIdField(primary_key=True)
    email = StringField(required=True, max_length=254)
    password = StringField(max_length=60)
    role = StringField(required=True, choices=ROLES)
    status = StringField(required=True, choices=STATUSES)
    token_version = IntField(db_field="tokenVersion", required=True, min_value=0, max_value=2**53)
    except_family = StringField(db_field="exceptFamily", max_length=64)
    invitation_id = StringField(db_field="invitationId")
    unanswered_invitation = StringField(db_field="unansweredInvitation")
    created_at = DateTimeField(db_field="createdAt", required=True)
    updated_at = DateTimeField(db_field="updatedAt", required=True)


class NewUser(Payload):
    """A user to add. Without a password they are invited."""

    example = {"email": "ben@acme.example", "role": "member"}

    email: Email = Field(examples=["ben@acme.example"])
    password: NewPassword | None = None
    role: Role = "member"


class UserChanges(Changes):
    """What may change about a user; the password is theirs alone."""

    example = {"role": "admin"}

    role: Role = UNSET
    status: Literal["active", "disabled"] = UNSET


class PasswordChange(Payload):
    """A user's own change of password."""

    example = {
        "currentPassword": "ann has a password",
        "newPassword": "ann has a new one",
    }

    current_password: GivenPassword
    new_password: NewPassword


class UserAnswer(StoredAnswer):
    """A user as their tenant sees them."""

    id: Id
    email: str
    role: Role
    status: UserStatus
    created_at: Time
    updated_at: Time


class InvitedUserAnswer(UserAnswer):
    """A user, and while they are invited the token that sets their first password."""

    invitation_token: Annotated[str, Absent] = ""
