"""Who may do what to the users of a tenant."""

from bson import ObjectId

from multitenant.errors import Conflict, RoleRequired, TokenRevoked, ValidationFailed
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.repositories.tenant import users
from multitenant.schemas.tenant.users import UserChanges
from multitenant.security.tokens import Claims
from multitenant.tenancy.routing.tenant import Tenant


def ensure_may_manage(claims: Claims, role: str) -> None:
    """Return if whoever has these claims may make, change and remove users of that role.

    Admins and owners reach this; only an owner touches owners. (Operators are owners of the
    operators' tenant.) Raises RoleRequired.
    """
    if role == "owner" and claims.role == "admin":
        raise RoleRequired("Only an owner may make, change or remove owners")


def ensure_somebody_else(claims: Claims, user_id: ObjectId) -> None:
    """Return if the user is not the one who asks: nobody demotes, disables or removes themselves,
    by accident or to leave no owner. Raises Conflict."""
    if claims.user_id == user_id:
        raise Conflict("Nobody does this to themselves; ask another owner or admin")


def ensure_role_exists(tenant: Tenant, role: str | None) -> None:
    """Return if users of the tenant may have that role (None: it was not named). The operators'
    tenant knows one: whoever is in it operates the platform. Raises ValidationFailed."""
    if tenant.system and role not in (None, "owner"):
        message = "operators are all owners: leave it out"
        raise ValidationFailed(errors=[{"field": "role", "message": message}])


def ensure_owner_remains(db: MongoDatabase, user: MongoDocument) -> None:
    """Return if the tenant keeps an active owner without this user. Raises Conflict."""
    if is_active_owner(user) and not users.has_other_owner(db, user["_id"]):
        raise Conflict("This is the last active owner; make somebody else an owner first")


def ensure_still_manages(db: MongoDatabase, claims: Claims) -> None:
    """Return if whoever has these claims is, at this moment, still what they say. A role that was
    taken away ends its tokens within a second; in a transaction it counts at once. Raises
    TokenRevoked."""
    user = users.find_user(db, claims.user_id)
    if user is None or user.get("status") != "active":
        raise TokenRevoked()
    if claims.role not in ("operator", user.get("role")):
        raise TokenRevoked()


def is_active_owner(user: MongoDocument) -> bool:
    """Whether the user can do all that an owner may."""
    return (user["role"], user["status"]) == ("owner", "active")


def effective_changes(user: MongoDocument, changes: UserChanges) -> dict[str, str | None]:
    """Return the fields that `changes` changes about this user; none, when all is so already.

    Disabling ends an open invitation, and so does another role. Enabling a user who never had a
    password makes them invited again, to be sent a new invitation. Raises Conflict for enabling
    one who is invited.
    """
    fields: dict[str, str | None] = {}
    if changes.role is not None and changes.role != user["role"]:
        fields["role"] = changes.role
        if user["status"] == "invited":
            # Whoever holds the invitation was trusted with the role that it was for.
            fields["invitation_id"] = None
    if changes.status == "disabled" and user["status"] != "disabled":
        fields |= {"status": "disabled", "invitation_id": None}
    if changes.status == "active" and user["status"] == "invited":
        raise Conflict("The user has not accepted their invitation yet")
    if changes.status == "active" and user["status"] == "disabled":
        fields["status"] = "active" if user.get("password") else "invited"
    return fields
