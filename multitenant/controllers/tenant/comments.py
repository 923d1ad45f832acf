"""Comments on posts."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.middleware.access import in_module
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_db, current_user
from multitenant.openapi import refuses
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import IdPath
from multitenant.schemas.tenant.comments import CommentAnswer, CommentPath, NewComment
from multitenant.services.tenant import comments as service

blueprint = in_module(
    "posts",
    APIBlueprint(
        "comments",
        __name__,
        url_prefix="/api/posts/<id>/comments",
        abp_tags=[Tag(name="Comments")],
    ),
)


@blueprint.get("", responses=page_of(CommentAnswer))
def list_comments(path: IdPath, query: PageQuery) -> Response:
    """List the comments on a post."""
    page = service.list_comments(current_db(), path.id, query)
    return answer_page(page, CommentAnswer, "Comments")


@blueprint.post("", responses=created(CommentAnswer))
def add_comment(path: IdPath, body: NewComment) -> Response:
    """Comment on a post."""
    added = service.add_comment(current_db(), path.id, body, current_user())
    return answer(CommentAnswer.of(added), "Comment added successfully", 201)


@blueprint.get("/<commentId>", responses=ok(CommentAnswer))
def get_comment(path: CommentPath) -> Response:
    """Show a comment."""
    comment = service.get_comment(current_db(), path.id, path.comment_id)
    return answer(CommentAnswer.of(comment), "Comment")


@blueprint.delete("/<commentId>", responses=ok(CommentAnswer))
@refuses("role_required")
def delete_comment(path: CommentPath) -> Response:
    """Delete a comment for good: its author, owners and admins."""
    deleted = service.delete_comment(current_db(), path.id, path.comment_id, current_user())
    return answer(CommentAnswer.of(deleted), "Comment deleted successfully")
