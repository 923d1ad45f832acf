"""The users of a tenant, and the one who is logged in."""

from typing import Any

from flask import Response
from flask_openapi3 import APIBlueprint, Tag

from multitenant.controllers.paging import answer_page
from multitenant.extensions import platform
from multitenant.middleware.access import requires_role
from multitenant.middleware.envelope import answer
from multitenant.middleware.request_context import (
    current_actor,
    current_claims,
    current_db,
    current_tenant,
    current_user,
)
from multitenant.openapi import refuses
from multitenant.schemas.answers import created, ok, page_of
from multitenant.schemas.paging import PageQuery
from multitenant.schemas.payload import IdPath
from multitenant.schemas.tenant.users import (
    InvitedUserAnswer,
    NewUser,
    PasswordChange,
    UserAnswer,
    UserChanges,
)
from multitenant.services.tenant import users as service
from multitenant.tenancy.users.user_administration import Invited, Manager

blueprint = APIBlueprint("users", __name__, url_prefix="/api/users", abp_tags=[Tag(name="Users")])


@blueprint.get("/me", responses=ok(UserAnswer))
def me() -> Response:
    """Show the user who is logged in."""
    return answer(UserAnswer.of(service.get_oneself(current_db(), current_user().id)), "User")


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


@blueprint.get("", responses=page_of(UserAnswer))
def list_users(query: PageQuery) -> Response:
    """List the users."""
    return answer_page(service.list_users(current_db(), query), UserAnswer, "Users")


@blueprint.post("", responses=created(InvitedUserAnswer))
@requires_role("owner", "admin")
@refuses("already_exists", "user_limit_reached", "rate_limited")
def add_user(body: NewUser) -> Response:
    """Add a user. Without a password they are invited, and the answer has `invitationToken`."""
    added = platform().user_administration.add(_manager(), body)
    return answer(_with_invitation(added), "User added successfully", 201)


@blueprint.get("/<id>", responses=ok(UserAnswer))
def get_user(path: IdPath) -> Response:
    """Show a user."""
    return answer(UserAnswer.of(service.get_user(current_db(), path.id)), "User")


@blueprint.patch("/<id>", responses=ok(UserAnswer))
@requires_role("owner", "admin")
@refuses("conflict", "rate_limited")
def change_user(path: IdPath, body: UserChanges) -> Response:
    """Change a user's role, disable or enable them; every session of theirs ends."""
    changed = platform().user_administration.change(_manager(), path.id, body)
    return answer(UserAnswer.of(changed), "User changed successfully")


@blueprint.delete("/<id>", responses=ok(UserAnswer))
@requires_role("owner", "admin")
@refuses("conflict", "rate_limited")
def remove_user(path: IdPath) -> Response:
    """Remove a user; every session of theirs ends."""
    removed = platform().user_administration.remove(_manager(), path.id)
    return answer(UserAnswer.of(removed), "User removed successfully")


@blueprint.post("/<id>/invitation", responses=created(InvitedUserAnswer))
@requires_role("owner", "admin")
@refuses("conflict", "rate_limited")
def invite_again(path: IdPath) -> Response:
    """Make a new invitation for an invited user; the one before is void."""
    invited = platform().user_administration.invite_again(_manager(), path.id)
    return answer(_with_invitation(invited), "User invited again", 201)


def _manager() -> Manager:
    """Whoever sent this request, as one who manages users."""
    return Manager(current_tenant(), current_db(), current_claims(), current_actor())


def _with_invitation(invited: Invited) -> dict[str, Any]:
    if invited.invitation_token is None:
        return UserAnswer.of(invited.user)
    return InvitedUserAnswer.of({**invited.user, "invitationToken": invited.invitation_token})
