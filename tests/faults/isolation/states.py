"""What a tenant and its users are at one moment."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.faults.isolation.client import Token

OPERATORS = "operators"
BASE_DOMAIN = "localhost"


@dataclass(slots=True)
class User:
    id: str
    email: str
    role: str
    status: str
    password: str | None
    version: int = 0
    void_below: int = 0
    """Tokens of lower versions are void, but those of the family that is `spared`."""
    spared: str | None = None
    invitation: str | None = None
    """The id of the open one."""

    def shown(self) -> dict[str, str]:
        return {"id": self.id, "email": self.email, "role": self.role, "status": self.status}

    def end_sessions(self, spared: str | None = None) -> None:
        self.version += 1
        self.void_below, self.spared = self.version, spared

    def is_void(self, token: Token) -> bool:
        return token.version < self.void_below and token.family != self.spared


@dataclass(slots=True)
class Tenant:
    """One tenant at one moment."""

    key: str
    mark: str
    """In everything that is written for it, and in nothing of another tenant."""
    name: str
    id: str = ""
    subdomain: str | None = None
    domains: list[str] | None = None
    status: str = "active"
    was_suspended: bool = False
    isolation: str = "shared"
    cluster: str = "default"
    modules: list[str] | None = None
    user_limit: int | None = None
    users: dict[str, User] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Families of tokens that were withdrawn."""
    used: set[str] = field(default_factory=set)
    """Refresh tokens that were used."""
    todos: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Tenant":
        return copy.deepcopy(self)

    @property
    def exists(self) -> bool:
        return self.status != "gone"

    def is_void(self, token: Token) -> bool:
        user = self.users.get(token.user_id)
        return token.family in self.ended or user is None or user.is_void(token)

    def hosts(self) -> list[str]:
        """The host names that stand for it."""
        own = [f"{self.subdomain}.{BASE_DOMAIN}"] if self.subdomain else []
        return own + (self.domains or [])

    def names(self) -> tuple[str | None, ...]:
        """All that a login may call it, the strongest first."""
        return self.id, self.subdomain, self.name.casefold()

    def shown(self) -> dict[str, object]:
        return {
            "id": self.id,
            "name": self.name,
            "subdomain": self.subdomain,
            "domains": self.domains or [],
            "status": "active" if self.status == "paused" else self.status,
            "isolation": self.isolation,
            "cluster": self.cluster,
            "modules": self.modules,
            "userLimit": self.user_limit,
        }


View = Mapping[str, Tenant]
"""All tenants at one moment, by their keys."""


def contradicts(view: View, host: str | None, tenant_id: str) -> bool:
    """Whether the host name stands for another tenant, or for one that is not there; a domain that
    nobody has given to a tenant stands for none."""
    if host is None:
        return False
    owner = next((one for one in view.values() if one.exists and host in one.hosts()), None)
    if owner is None:
        return host.endswith(f".{BASE_DOMAIN}")
    return owner.id != tenant_id


def by_id(view: View, tenant_id: str) -> Tenant | None:
    return next((one for one in view.values() if one.id == tenant_id), None)
