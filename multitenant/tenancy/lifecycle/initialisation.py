"""First start, and every start: the admin database and the operators are in place."""

import secrets
from collections.abc import Callable
from dataclasses import dataclass

import pymongo
from pydantic import SecretStr

from multitenant.errors import AlreadyExists
from multitenant.repositories.admin.tenants import find_tenant_by_name
from multitenant.repositories.model import MongoDatabase
from multitenant.repositories.turns import take_turn
from multitenant.schemas.admin.tenants import NewTenant
from multitenant.tenancy.lifecycle.provisioning import Provisioner
from multitenant.tenancy.migrations import ADMIN_MIGRATIONS, migrate, pending_migrations
from multitenant.tenancy.routing.connection_manager import ConnectionManager

OPERATORS = "operators"
READINESS = "readiness"
"""Whose turn it is when a process looks whether it can write."""


@dataclass(frozen=True, slots=True)
class Initialisation:
    """What initialise() found and did."""

    operator_email: str | None
    """The first operator's, if it was made just now."""
    operator_password: str | None
    """Theirs, if it was made up."""


def is_ready(admin_db: MongoDatabase, *, seconds: float) -> bool:
    """Whether the admin database has every migration, and a majority of its members takes a write,
    as each login makes some. Raises PyMongo's errors where that does not succeed in time: there is
    no primary, or it was cut off, its disk is full, or its user may only read."""
    with pymongo.timeout(seconds):
        if pending_migrations(admin_db, ADMIN_MIGRATIONS):
            return False
        take_turn(admin_db, READINESS)
        return True


def initialise(
    connections: ConnectionManager,
    provisioner: Provisioner,
    *,
    email: str | None,
    password: SecretStr | None,
    made_up_password: Callable[[], str],
) -> Initialisation:
    """Apply the admin database's migrations and make the operators' tenant, if there is none.

    `made_up_password` is called when the first operator is made and `password` is None. Safe
    when several processes start at once. Raises ValueError when an operator must be made and
    `email` is None.
    """
    migrate(connections.admin_db, ADMIN_MIGRATIONS)
    if find_tenant_by_name(connections.admin_db, OPERATORS):
        return Initialisation(None, None)
    if email is None:
        raise ValueError("OPERATOR_EMAIL is not set, and there is no operator yet")
    chosen = password or SecretStr(made_up_password())
    new = NewTenant.model_validate({"name": OPERATORS, "email": email, "password": chosen})
    try:
        provisioner.provision(new, system=True)
    except AlreadyExists:
        return Initialisation(None, None)  # another process was faster
    return Initialisation(email, None if password else chosen.get_secret_value())


def make_up_password() -> str:
    """Return a password nobody can guess."""
    return secrets.token_urlsafe(18)
