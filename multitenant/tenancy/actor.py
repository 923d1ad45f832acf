"""Who is acting, for the audit log."""

import getpass
import os
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, Self
from uuid import uuid4

from bson import ObjectId

from multitenant.repositories.admin import audit
from multitenant.repositories.model import MongoDatabase, utc_now

Outcome = Literal["success", "failure"]

BY_USERS = ("auth.", "user.")
"""What the actions of tenants' own users begin with."""
BY_USERS_KEPT = timedelta(days=400)


@dataclass(frozen=True, slots=True)
class Actor:
    """Whoever sent a request, or runs a command."""

    user_id: ObjectId | None
    """None before anybody is logged in, and on the command line."""
    request_id: str
    ip: str | None
    acting_as: ObjectId | None = None
    """The user whom `user_id`, an operator, impersonates."""
    os_user: str | None = None

    @classmethod
    def on_command_line(cls) -> Self:
        """Whoever runs this process."""
        return cls(user_id=None, request_id=uuid4().hex, ip=None, os_user=_os_user())

    def known_as(self, user_id: ObjectId) -> Self:
        """The same, now that it is known which user it is."""
        return replace(self, user_id=user_id)

    def record(
        self,
        admin_db: MongoDatabase,
        action: str,
        tenant_id: ObjectId | None,
        *,
        outcome: Outcome = "success",
        kept_for: timedelta | None = None,
        **details: Any,
    ) -> None:
        """Write to the audit log what this actor did, or tried. Call it in the transaction of the
        deed: then neither exists without the other. It is kept for `kept_for`; without that, what
        users of tenants do is kept for BY_USERS_KEPT, and what operators do for ever."""
        if kept_for is None and action.startswith(BY_USERS):
            kept_for = BY_USERS_KEPT
        audit.insert_audit(
            admin_db,
            actor=self.user_id,
            acting_as=self.acting_as,
            os_user=self.os_user,
            action=action,
            outcome=outcome,
            tenant_id=tenant_id,
            request_id=self.request_id,
            ip=self.ip,
            details=details,
            expires_at=utc_now() + kept_for if kept_for else None,
        )


def _os_user() -> str:
    """The system's name of whoever runs this process, or their number where it has none."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = f"uid {os.getuid()}"
    return name[:64].encode(errors="backslashreplace").decode()
