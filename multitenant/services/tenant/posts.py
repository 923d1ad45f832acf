"""The rules of posts."""

from bson import ObjectId

from multitenant.repositories.model import MongoDatabase, MongoDocument, shorten, utc_now
from multitenant.repositories.tenant.comments import find_first_comments
from multitenant.repositories.tenant.posts import all_posts, posts, published_posts
from multitenant.schemas.paging import Page
from multitenant.schemas.tenant.posts import (
    NewPost,
    PostChanges,
    PostDocument,
    PostsQuery,
    PublishedPostsQuery,
)
from multitenant.services.tenant.authorship import User, ensure_may_change, ensure_moderates

FIRST_COMMENTS = 10
"""How many comments a post shows; the list of its comments has the others."""


def add_post(db: MongoDatabase, new: NewPost, author: User) -> MongoDocument:
    """Create a post."""
    return posts.insert(db, **dict(new), author_id=author.id)


def list_posts(db: MongoDatabase, query: PostsQuery, user: User) -> Page:
    """Return a page of posts, oldest first; raises RoleRequired when `query` asks for deleted
    ones and the user may not see them."""
    if query.include_deleted:
        ensure_moderates(user)
        return _included(db, query, all_posts.find_page(db, query))
    return _included(db, query, posts.find_page(db, query))


def list_published_posts(db: MongoDatabase, query: PublishedPostsQuery) -> Page:
    """Return a page of the posts that are published, oldest first."""
    return _included(db, query, published_posts.find_page(db, query))


def get_post(db: MongoDatabase, post_id: ObjectId, *, with_comments: bool = False) -> MongoDocument:
    """Return the post, with its first comments if wanted; raises NotFound."""
    post = posts.get(db, post_id)
    return _with_comments(db, Page([post], None)).items[0] if with_comments else post


def change_post(
    db: MongoDatabase, post_id: ObjectId, changes: PostChanges, user: User
) -> MongoDocument:
    """Change what `changes` names and return the post; raises NotFound and RoleRequired."""
    ensure_may_change(posts.get(db, post_id), user)
    return posts.update(db, post_id, **changes.changes())


def delete_post(db: MongoDatabase, post_id: ObjectId, user: User) -> MongoDocument:
    """Delete the post so that it can be restored, and return it; one that is deleted already
    stays as it is. Raises NotFound and RoleRequired."""
    post = all_posts.get(db, post_id)
    ensure_may_change(post, user)
    if post.get("deletedAt"):
        return post
    return all_posts.update(db, post_id, deleted_at=utc_now())


def restore_post(db: MongoDatabase, post_id: ObjectId, user: User) -> MongoDocument:
    """Bring a deleted post back and return it; one that is not deleted stays as it is. Raises
    NotFound and RoleRequired."""
    post = all_posts.get(db, post_id)
    ensure_may_change(post, user)
    if not post.get("deletedAt"):
        return post
    return all_posts.update(db, post_id, deleted_at=None)


def _included(db: MongoDatabase, query: PublishedPostsQuery, page: Page) -> Page:
    """The page, with what the query wants included."""
    return page if query.include is None else _with_comments(db, page)


def _with_comments(db: MongoDatabase, page: Page) -> Page:
    """The page, each post with its first comments; it ends earlier where those are many bytes."""
    comments = find_first_comments(db, [post["_id"] for post in page.items], FIRST_COMMENTS)
    shown = shorten(page, len(comments), PostDocument)
    items = [
        {**post, "comments": of_post.as_document()}
        for post, of_post in zip(shown.items, comments, strict=True)
    ]
    return Page(items, shown.next_cursor)
