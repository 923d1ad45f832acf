"""Comments in a tenant's database."""

from bson import ObjectId

from multitenant.repositories.model import Model, MongoDatabase
from multitenant.repositories.resource import Resource
from multitenant.schemas.paging import Page
from multitenant.schemas.tenant.comments import CommentDocument
from multitenant.schemas.tenant.posts import PostDocument


def comments_on(post_id: ObjectId) -> Resource:
    """The comments on one post."""
    return Resource(CommentDocument, "comment", {"postId": post_id})


def find_first_comments(
    db: MongoDatabase, post_ids: list[ObjectId], limit: int
) -> dict[ObjectId, Page]:
    """Return the first comments on each of the posts, oldest first, with one query."""
    first = [{"$sort": {"createdAt": 1, "_id": 1}}, {"$limit": limit + 1}]
    comments = Model(db, CommentDocument).collection.name
    lookup = {
        "from": comments,
        "localField": "_id",
        "foreignField": "postId",
        "pipeline": first,
        "as": "comments",
    }
    found = Model(db, PostDocument).collection.aggregate(
        [{"$match": {"_id": {"$in": post_ids}}}, {"$project": {"_id": 1}}, {"$lookup": lookup}]
    )
    return {
        post["_id"]: Page.of(post["comments"], limit, "createdAt", collection=comments)
        for post in found
    }
