"""The settings of a tenant."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.middleware.access import requires_role
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import current_db
from multitenant.schemas.answers import ok, page_of
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.tenant.settings import NewValue, SettingAnswer, SettingPath
from multitenant.services.tenant import settings as service

blueprint = APIBlueprint(
    "settings", __name__, url_prefix="/api/settings", abp_tags=[Tag(name="Settings")]
)


@blueprint.get("", responses=page_of(SettingAnswer))
def list_settings(query: PageQuery) -> Response:
    """List the settings."""
    return answer_page(service.list_settings(current_db(), query), SettingAnswer, "Settings")


@blueprint.get("/<key>", responses=ok(SettingAnswer))
def get_setting(path: SettingPath) -> Response:
    """Show a setting."""
    return answer(SettingAnswer.of(service.get_setting(current_db(), path.key)), "Setting")


@blueprint.put("/<key>", responses=ok(SettingAnswer))
@requires_role("owner", "admin")
def put_setting(path: SettingPath, body: NewValue) -> Response:
    """Set a key to a value."""
    setting = service.put_setting(current_db(), path.key, body.value)
    return answer(SettingAnswer.of(setting), "Setting saved successfully")


@blueprint.delete("/<key>", responses=ok(SettingAnswer))
@requires_role("owner", "admin")
def delete_setting(path: SettingPath) -> Response:
    """Delete a setting."""
    deleted = service.delete_setting(current_db(), path.key)
    return answer(SettingAnswer.of(deleted), "Setting deleted successfully")
