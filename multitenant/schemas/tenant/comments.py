"""Comments on posts: the stored document, payloads and answers."""

from typing import Annotated

from mongoengine import ObjectIdField, StringField
from pydantic import Field

from multitenant.schemas.document import DatedDocument
from multitenant.schemas.payload import Id, IdPath, Payload, Text, Time
from multitenant.schemas.stored import StoredAnswer

MAX_COMMENT = 2_000


class CommentDocument(DatedDocument):
    """A comment as the tenant's database keeps it."""

    meta = {"collection": "comments", "indexes": [["post_id", "created_at", "_id"]]}

    post_id = ObjectIdField(db_field="postId", required=True)
    author_id = ObjectIdField(db_field="authorId", required=True)
    content = StringField(required=True, min_length=1, max_length=MAX_COMMENT)


class CommentPath(IdPath):
    """The path of one comment of the post `id`."""

    comment_id: Id


class NewComment(Payload):
    """A comment to write."""

    example = {"content": "At last!"}

    content: Annotated[Text, Field(max_length=MAX_COMMENT)] = Field(examples=["At last!"])


class CommentAnswer(StoredAnswer):
    """A comment."""

    id: Id
    post_id: Id
    author_id: Id
    content: str
    created_at: Time
