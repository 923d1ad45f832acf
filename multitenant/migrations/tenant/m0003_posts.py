"""Posts and the comments on them."""

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.schemas.tenant.comments import CommentDocument
from multitenant.schemas.tenant.posts import PostDocument


def up(db: MongoDatabase) -> None:
    """Create the collections with indexes; may run again."""
    for document in (PostDocument, CommentDocument):
        Model(db, document).ensure_indexes()


def down(db: MongoDatabase) -> None:
    """Drop them, with all that is in them."""
    for document in (PostDocument, CommentDocument):
        Model(db, document).collection.drop()
