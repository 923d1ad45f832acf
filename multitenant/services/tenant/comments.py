"""The rules of comments. A deleted post has none, until it is restored."""

from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant.comments import comments_on
from multitenant.repositories.tenant.posts import posts
from multitenant.schemas.paging import Page, PageQuery
from multitenant.schemas.tenant.comments import NewComment
from multitenant.services.tenant.authorship import User, ensure_may_change


def add_comment(
    db: MongoDatabase, post_id: ObjectId, new: NewComment, author: User
) -> MongoDocument:
    """Create a comment on the post; raises NotFound when there is no such post."""
    posts.get(db, post_id)
    return comments_on(post_id).insert(db, **dict(new), post_id=post_id, author_id=author.id)


def list_comments(db: MongoDatabase, post_id: ObjectId, query: PageQuery) -> Page:
    """Return a page of the comments on the post, oldest first; raises NotFound."""
    posts.get(db, post_id)
    return comments_on(post_id).find_page(db, query)


def get_comment(db: MongoDatabase, post_id: ObjectId, comment_id: ObjectId) -> MongoDocument:
    """Return a comment on the post; raises NotFound."""
    posts.get(db, post_id)
    return comments_on(post_id).get(db, comment_id)


def delete_comment(
    db: MongoDatabase, post_id: ObjectId, comment_id: ObjectId, user: User
) -> MongoDocument:
    """Delete a comment on the post, for good, and return it as it was; raises NotFound and
    RoleRequired."""
    ensure_may_change(get_comment(db, post_id, comment_id), user)
    return comments_on(post_id).delete(db, comment_id)
