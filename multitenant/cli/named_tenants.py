"""The tenants that a command was told to work on."""

from collections.abc import Sequence

from multitenant.errors import ConfigurationError
from multitenant.repositories.admin.tenants import find_tenants_for_migration
from multitenant.repositories.model import MongoDatabase, MongoDocument


def named_tenants(admin_db: MongoDatabase, named: Sequence[str]) -> list[MongoDocument]:
    """Return the records of these tenants (ids, subdomains or names), or of all, oldest first.
    Raises ConfigurationError for a name that nobody has."""
    found = find_tenants_for_migration(admin_db, named=named)
    known = {text for one in found for text in _names(one)}
    missing = [text for text in named if text.casefold() not in known]
    if missing:
        raise ConfigurationError(f"There is no tenant {', '.join(map(repr, missing))}")
    return found


def _names(record: MongoDocument) -> set[str]:
    return {str(record["_id"]), record.get("subdomain") or "", record["name"].casefold()}
