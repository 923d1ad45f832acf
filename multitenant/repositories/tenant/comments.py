"""Comments in a tenant's database."""

from typing import Any

from bson import ObjectId

from multitenant.repositories.bounded_reads import BATCH_DOCUMENTS, read_page
from multitenant.repositories.model import Model, MongoDatabase
from multitenant.repositories.resource import Resource
from multitenant.schemas.paging import Page
from multitenant.schemas.tenant.comments import CommentDocument
from multitenant.schemas.tenant.posts import PostDocument

COMMENT_BYTES = 16 * 2**10
"""Of a larger comment, which the API does not make, a post shows the id and the time only."""


def comments_on(post_id: ObjectId) -> Resource:
    """The comments on one post."""
    return Resource(CommentDocument, "comment", {"postId": post_id})


def find_first_comments(db: MongoDatabase, post_ids: list[ObjectId], limit: int) -> list[Page]:
    """Return the first comments on each of the posts, oldest first, with one query: on as many of
    the posts as a page has room for, in the order of `post_ids`, and on the first one at least."""
    comments = Model(db, CommentDocument).name
    lookup = {
        "from": comments,
        "localField": "_id",
        "foreignField": "postId",
        "pipeline": _first(limit + 1),
        "as": "comments",
    }
    stages: list[dict[str, Any]] = [
        {"$match": {"_id": {"$in": post_ids}}},
        {"$project": {"place": {"$indexOfArray": [post_ids, "$_id"]}}},
        {"$sort": {"place": 1}},
        {"$lookup": lookup},
    ]
    # Raw documents rather than raw batches, of which the first would take a command of its own.
    with Model(db, PostDocument).raw.aggregate(stages, batchSize=BATCH_DOCUMENTS) as documents:
        found, more = read_page((bytes(each.raw) for each in documents), len(post_ids))
    shown = found[-1]["place"] + 1 if more else len(post_ids)
    by_post = {post["_id"]: post["comments"] for post in found}
    return [
        # without any, where the post has gone meanwhile
        _page(by_post.get(post_id, []), limit, comments)
        for post_id in post_ids[:shown]
    ]


def _page(found: list[dict[str, Any]], limit: int, collection: str) -> Page:
    more = len(found) > limit
    return Page.of(found[:limit], "createdAt", collection=collection, more=more)


def _first(limit: int) -> list[dict[str, Any]]:
    """The stages that leave so many comments, none of them large."""
    fits = {"$lte": [{"$bsonSize": "$$ROOT"}, COMMENT_BYTES]}
    rest = {"_id": "$_id", "createdAt": "$createdAt"}
    return [
        {"$match": {"_id": {"$type": "objectId"}}},
        {"$sort": {"createdAt": 1, "_id": 1}},
        {"$limit": limit},
        {"$replaceWith": {"$cond": [fits, "$$ROOT", rest]}},
    ]
