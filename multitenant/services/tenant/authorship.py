"""Who may change what somebody has written."""

from typing import Protocol

from bson import ObjectId

from multitenant.errors import RoleRequired
from multitenant.repositories.model import MongoDocument

MODERATORS = frozenset({"owner", "admin", "operator"})
"""The roles that may change what others have written, and see what was deleted. (Whoever is in a
system tenant operates the platform.)"""


class User(Protocol):
    """Whoever asks."""

    @property
    def id(self) -> ObjectId:
        """Their id in the tenant's database."""

    @property
    def role(self) -> str:
        """What they are to the tenant."""


def ensure_moderates(user: User) -> None:
    """Return if the user may moderate; otherwise raise RoleRequired."""
    if user.role not in MODERATORS:
        raise RoleRequired("Only an owner or an admin may do this")


def ensure_may_change(document: MongoDocument, user: User) -> None:
    """Return if the user has written the document or may moderate; otherwise raise
    RoleRequired."""
    if document.get("authorId") != user.id and user.role not in MODERATORS:
        raise RoleRequired("Only its author, an owner or an admin may do this")
