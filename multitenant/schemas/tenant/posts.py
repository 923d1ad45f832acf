"""Posts: the stored document, queries, payloads and answers."""

from typing import Annotated, Literal

from mongoengine import BooleanField, DateTimeField, ObjectIdField, StringField
from pydantic import Field, StrictBool

from multitenant.schemas.document import DatedDocument
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import (
    UNSET,
    Absent,
    Answer,
    Changes,
    Id,
    Line,
    Payload,
    Text,
    Time,
)
from multitenant.schemas.stored import StoredAnswer
from multitenant.schemas.tenant.comments import CommentAnswer

MAX_CONTENT = 20_000


class PostDocument(DatedDocument):
    """A post as the tenant's database keeps it, also after it was deleted: `deletedAt` tells."""

    meta = {
        "collection": "posts",
        "indexes": [
            ["created_at", "_id"],
            ["deleted_at", "created_at", "_id"],
            ["published", "deleted_at", "created_at", "_id"],
        ],
    }

    title = StringField(required=True, min_length=1, max_length=200)
    content = StringField(required=True, min_length=1, max_length=MAX_CONTENT)
    published = BooleanField(required=True, default=False)
    author_id = ObjectIdField(db_field="authorId", required=True)
    deleted_at = DateTimeField(db_field="deletedAt")


Content = Annotated[Text, Field(max_length=MAX_CONTENT)]
Include = Annotated[
    Literal["comments"] | None,
    Field(description="`comments`: with the first comments of each post"),
]


class NewPost(Payload):
    """A post to write."""

    example = {
        "title": "Anvils are back",
        "content": "Heavier than ever.",
        "published": True,
    }

    title: Line = Field(examples=["Anvils are back"])
    content: Content
    published: StrictBool = False


class PostChanges(Changes):
    """What may change."""

    example = {"published": False}

    title: Line = UNSET
    content: Content = UNSET
    published: StrictBool = UNSET


class PostQuery(Payload):
    """The query of one post."""

    include: Include = None


class PublishedPostsQuery(PageQuery):
    """The query of the list of published posts."""

    include: Include = None


class PostsQuery(PublishedPostsQuery):
    """The query of the list of posts."""

    include_deleted: bool = Field(False, description="Deleted ones as well, for owners and admins")


class PostAnswer(StoredAnswer):
    """A post."""

    id: Id
    title: str
    content: str
    published: bool
    author_id: Id
    created_at: Time
    updated_at: Time
    deleted_at: Time | None = None


class FirstComments(Answer):
    """A post's first comments, and where the list of its comments goes on."""

    items: list[CommentAnswer]
    next_cursor: str | None


class PostWithComments(PostAnswer):
    """A post and, with `include=comments`, its first comments."""

    comments: Annotated[FirstComments | None, Absent] = None
