"""Posts."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.middleware.access import in_module
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_db, current_user
from multitenant.openapi import refuses
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.payload import IdPath
from multitenant.schemas.tenant.posts import (
    NewPost,
    PostAnswer,
    PostChanges,
    PostQuery,
    PostsQuery,
    PostWithComments,
    PublishedPostsQuery,
)
from multitenant.services.tenant import posts as service

blueprint = in_module(
    "posts", APIBlueprint("posts", __name__, url_prefix="/api/posts", abp_tags=[Tag(name="Posts")])
)


@blueprint.get("", responses=page_of(PostWithComments))
@refuses("role_required")
def list_posts(query: PostsQuery) -> Response:
    """List the posts, drafts included."""
    page = service.list_posts(current_db(), query, current_user())
    return answer_page(page, _shape(query), "Posts")


@blueprint.get("/published", responses=page_of(PostWithComments))
def list_published_posts(query: PublishedPostsQuery) -> Response:
    """List the published posts."""
    page = service.list_published_posts(current_db(), query)
    return answer_page(page, _shape(query), "Published posts")


@blueprint.post("", responses=created(PostAnswer))
def add_post(body: NewPost) -> Response:
    """Write a post."""
    added = service.add_post(current_db(), body, current_user())
    return answer(PostAnswer.of(added), "Post added successfully", 201)


@blueprint.get("/<id>", responses=ok(PostWithComments))
def get_post(path: IdPath, query: PostQuery) -> Response:
    """Show a post."""
    post = service.get_post(current_db(), path.id, with_comments=query.include == "comments")
    return answer(_shape(query).of(post), "Post")


@blueprint.patch("/<id>", responses=ok(PostAnswer))
@refuses("role_required")
def change_post(path: IdPath, body: PostChanges) -> Response:
    """Change a post: its author, owners and admins."""
    changed = service.change_post(current_db(), path.id, body, current_user())
    return answer(PostAnswer.of(changed), "Post changed successfully")


@blueprint.delete("/<id>", responses=ok(PostAnswer))
@refuses("role_required")
def delete_post(path: IdPath) -> Response:
    """Delete a post, so that it can be restored: its author, owners and admins."""
    deleted = service.delete_post(current_db(), path.id, current_user())
    return answer(PostAnswer.of(deleted), "Post deleted; it can be restored")


@blueprint.post("/<id>/restore", responses=ok(PostAnswer))
@refuses("role_required")
def restore_post(path: IdPath) -> Response:
    """Restore a deleted post: its author, owners and admins."""
    restored = service.restore_post(current_db(), path.id, current_user())
    return answer(PostAnswer.of(restored), "Post restored")


def _shape(query: PostQuery | PublishedPostsQuery) -> type[PostAnswer]:
    return PostAnswer if query.include is None else PostWithComments
