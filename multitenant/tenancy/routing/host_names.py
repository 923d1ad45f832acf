"""Which tenant a host name stands for."""

import ipaddress
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from bson import ObjectId

from multitenant.repositories.admin import tenants
from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.host_labels import is_reserved
from multitenant.tenancy.routing.recent_answers import RecentAnswers


@dataclass(frozen=True, slots=True)
class NamedTenant:
    """What a host name says: it names no tenant, a tenant, or one that does not exist."""

    names_one: bool
    tenant_id: ObjectId | None = None


NOBODY = NamedTenant(names_one=False)
NO_TENANT = "none"
NAMES = frozenset({"subdomain", "domains"})
"""The fields of a tenant's record in which its hosts are."""


def subject_of(named: NamedTenant) -> Hashable:
    """What an answer is about: whichever of its changes may make it wrong."""
    return named.tenant_id or NO_TENANT


class HostNames:
    """Looks hosts up in the admin database, each as seldom as `recent` allows."""

    def __init__(
        self,
        admin_db: Callable[[], MongoDatabase],
        recent: RecentAnswers[str, NamedTenant],
        *,
        base_domain: str,
    ) -> None:
        self._admin_db = admin_db
        self._recent = recent
        self._base_domain = base_domain

    def tenant_of(self, host: str) -> NamedTenant:
        """Return what `host` (the Host header, with or without a port) names.

        `acme.<base domain>` names the tenant with that subdomain, or one that does not exist;
        any other name is some tenant's custom domain, or names none. The base domain itself,
        an address and the platform's own labels name none.
        """
        name = _without_port(host).lower().rstrip(".")
        if name in ("", "localhost", self._base_domain) or _is_address(name):
            return NOBODY
        return self._recent.get(name, lambda: self._look_up(name))

    def is_own(self, name: str) -> bool:
        """Whether the (lower-case) name is the base domain or below it."""
        return bool(self._base_domain) and f".{name}".endswith(f".{self._base_domain}")

    def forget(self) -> None:
        """Make the next use of every host read the admin database again."""
        self._recent.forget()

    def forget_tenant(self, tenant_id: ObjectId) -> None:
        """Do so for the hosts that stand for the tenant, and for those that stand for none: it may
        have their names now."""
        self._recent.forget_about(tenant_id)
        self._recent.forget_about(NO_TENANT)

    def hear(self, tenant_id: ObjectId, change: Mapping[str, Any]) -> None:
        """Hear of a change of the tenant's record, as the change stream tells it: those of other
        fields than its names change nothing here."""
        if change["operationType"] == "update":
            update = change["updateDescription"]
            cut = [array["field"] for array in update.get("truncatedArrays", ())]
            paths = [*update["updatedFields"], *update["removedFields"], *cut]
            if NAMES.isdisjoint(path.partition(".")[0] for path in paths):
                return
        self.forget_tenant(tenant_id)

    def _look_up(self, name: str) -> NamedTenant:
        suffix = f".{self._base_domain}"
        if self._base_domain and name.endswith(suffix):
            label = name.removesuffix(suffix)
            found = tenants.find_tenant_id_by_subdomain(self._admin_db(), label)
            # A tenant keeps a label that it had before that was reserved.
            return NOBODY if found is None and is_reserved(label) else NamedTenant(True, found)
        found = tenants.find_tenant_id_by_domain(self._admin_db(), name)
        return NamedTenant(True, found) if found else NOBODY


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
