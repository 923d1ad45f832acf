"""The user who is logged in."""

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.extensions import platform
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import (
    current_actor,
    current_claims,
    current_db,
    current_tenant,
    current_user,
)
from multitenant.openapi import refuses
from multitenant.schemas.answers import ok
from multitenant.schemas.tenant.users import PasswordChange, UserAnswer
from multitenant.services.tenant import users as service

blueprint = APIBlueprint("users", __name__, url_prefix="/api/users", abp_tags=[Tag(name="Users")])


@blueprint.get("/me", responses=ok(UserAnswer))
def me() -> Response:
    """Show the user who is logged in."""
    return answer(UserAnswer.of(service.get_user(current_db(), current_user().id)), "User")


@blueprint.put("/me/password", responses=ok(UserAnswer))
@refuses("credentials_invalid", "role_required", "conflict", "rate_limited")
def change_password(body: PasswordChange) -> Response:
    """Change one's own password; every other session of the user ends."""
    user = platform().membership.change_password(
        current_tenant(),
        current_db(),
        current_claims(),
        current_actor(),
        current=body.current_password.get_secret_value(),
        new=body.new_password.get_secret_value(),
    )
    return answer(UserAnswer.of(user), "Password changed successfully")
