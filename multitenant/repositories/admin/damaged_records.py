"""Tenant records that are not as the schema says, because somebody has edited them by hand.

What needs one such tenant raises DamagedRecord, by ensure_intact(). Work on many tenants goes
through legible() records, so that it can name the tenant, report it, and go on with the others.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from bson import Int64

from multitenant.errors import DamagedRecord
from multitenant.repositories.model import MongoDocument
from multitenant.schemas.admin.tenants import ISOLATIONS, STATUSES

NUMBER = (int, Int64)
ROUTING: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "dbName": (str,),
    "cluster": (str,),
    "isolation": (str,),
    "status": (str,),
    "system": (bool,),
}
"""The types of the fields without which no request can be served."""
DISPLAYED: Mapping[str, tuple[type, ...]] = {
    "schemaVersion": NUMBER,
    "createdAt": (datetime,),
    "updatedAt": (datetime,),
}
"""Those of the other fields that each record has."""
ACCESS: Mapping[str, tuple[type, ...]] = {
    "subdomain": (str,),
    "domains": (list,),
    "modules": (list,),
    "maintenanceUntil": (datetime,),
    "readOnly": (bool,),
}
"""Those of fields that a record may have, and that decide about requests."""
OPTIONAL: Mapping[str, tuple[type, ...]] = {
    "userLimit": NUMBER,
    "maintenanceHolder": (str,),
    "suspendedAt": (datetime,),
    "deletedAt": (datetime,),
}
"""Those of the others. What is wrong with `dbUri` and `credentials`, decrypting them tells."""
CHOICES: Mapping[str, tuple[str, ...]] = {"status": STATUSES, "isolation": ISOLATIONS}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NO_VERSION = 0
"""Of a tenant whose record does not tell at which version its database is."""


def find_damage(record: MongoDocument) -> list[str]:
    """Return the fields that are missing or wrong, of those that decide about requests."""
    return _wrong(record, ROUTING, ACCESS)


def ensure_intact(record: MongoDocument) -> MongoDocument:
    """Return the record. Raises DamagedRecord when requests cannot be served by it."""
    if damage := find_damage(record):
        raise DamagedRecord(
            f"The record of the tenant {record['_id']} is damaged: look at {', '.join(damage)}"
        )
    return record


def legible(records: Iterable[MongoDocument]) -> list[MongoDocument]:
    """Return the records as they are or, where one is damaged, with a value of the right type in
    each field that all have, and without others that are wrong."""
    return [_made_legible(record) for record in records]


def _made_legible(record: MongoDocument) -> MongoDocument:
    wrong = _wrong(record, {**ROUTING, **DISPLAYED}, {**ACCESS, **OPTIONAL})
    if not wrong:
        return record
    instead: dict[str, Any] = {
        **dict.fromkeys(ROUTING, ""),
        "name": f"(tenant {record['_id']})",
        "system": False,
        "schemaVersion": NO_VERSION,
        "createdAt": EPOCH,
        "updatedAt": EPOCH,
    }
    sound = {name: value for name, value in record.items() if name not in wrong}
    return sound | {name: instead[name] for name in wrong if name in instead}


def _wrong(
    record: MongoDocument,
    required: Mapping[str, tuple[type, ...]],
    optional: Mapping[str, tuple[type, ...]],
) -> list[str]:
    missing = [name for name in required if name not in record]
    present = {name: types for name, types in {**required, **optional}.items() if name in record}
    return missing + [
        name for name, types in present.items() if not _fits(name, types, record[name])
    ]


def _fits(name: str, types: tuple[type, ...], value: Any) -> bool:
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        return False
    if name in CHOICES and value not in CHOICES[name]:
        return False
    return not isinstance(value, list) or all(isinstance(it, str) for it in value)
