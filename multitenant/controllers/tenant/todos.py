"""The to-do list."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_db
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import IdPath
from multitenant.schemas.tenant.todos import NewTodo, TodoAnswer, TodoChanges
from multitenant.services.tenant import todos as service

blueprint = APIBlueprint(
    "todos", __name__, url_prefix="/api/to-do-list", abp_tags=[Tag(name="To-do list")]
)


@blueprint.get("", responses=page_of(TodoAnswer))
def list_todos(query: PageQuery) -> Response:
    """List the to-do items."""
    return answer_page(service.list_todos(current_db(), query), TodoAnswer, "To-do list")


@blueprint.post("", responses=created(TodoAnswer))
def add_todo(body: NewTodo) -> Response:
    """Add a to-do item."""
    added = service.add_todo(current_db(), body)
    return answer(TodoAnswer.of(added), "To-do item added successfully", 201)


@blueprint.get("/<id>", responses=ok(TodoAnswer))
def get_todo(path: IdPath) -> Response:
    """Show a to-do item."""
    return answer(TodoAnswer.of(service.get_todo(current_db(), path.id)), "To-do item")


@blueprint.patch("/<id>", responses=ok(TodoAnswer))
def change_todo(path: IdPath, body: TodoChanges) -> Response:
    """Change a to-do item."""
    changed = service.change_todo(current_db(), path.id, body)
    return answer(TodoAnswer.of(changed), "To-do item changed successfully")


@blueprint.delete("/<id>", responses=ok(TodoAnswer))
def delete_todo(path: IdPath) -> Response:
    """Delete a to-do item."""
    deleted = service.delete_todo(current_db(), path.id)
    return answer(TodoAnswer.of(deleted), "To-do item deleted successfully")
