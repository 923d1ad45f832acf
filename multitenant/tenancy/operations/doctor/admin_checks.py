"""Checks of the admin database, and of tenants by their records."""

from datetime import timedelta

import pymongo

from multitenant.errors import DatabaseLost, DecryptionFailed
from multitenant.repositories.admin import encrypted_fields, tenants
from multitenant.repositories.indexes import IndexDrift, find_drift
from multitenant.repositories.model import MongoDocument, utc_now
from multitenant.schemas import tenant as tenant_schemas
from multitenant.schemas.admin import DOCUMENTS
from multitenant.tenancy.deployments.external import decrypt_uri
from multitenant.tenancy.deployments.isolation import widened_scope
from multitenant.tenancy.failures import contained
from multitenant.tenancy.identity import find_problem
from multitenant.tenancy.lifecycle.orphans import find_orphans
from multitenant.tenancy.migrations import (
    ADMIN_MIGRATIONS,
    TENANT_VERSION,
    newest_applied,
    pending_migrations,
)
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.verdict import Verdict, bad, good, poor

SAMPLE = 10
SHOWN = 10
TENANT_SECONDS = 3.0
LEFT_OVER_AFTER = timedelta(hours=1)


def some(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def look_at_migrations(subject: Subject) -> Verdict:
    """The admin database is of this release."""
    db = subject.admin_db
    pending = pending_migrations(db, ADMIN_MIGRATIONS)
    if len(pending) == len(ADMIN_MIGRATIONS):
        return bad(
            f"the admin database {db.name} is empty",
            "`multitenant init` makes it; if there should be one, ADMIN_DB_NAME or ADMIN_DB_URI"
            " is wrong",
        )
    if pending:
        names = ", ".join(migration.name for migration in pending)
        return bad(f"the admin database lacks {names}", "run `multitenant init`")
    if newest_applied(db) > len(ADMIN_MIGRATIONS):
        return bad("the admin database is newer than this release", "run the newer release")
    return good(f"the admin database {db.name} has all of this release")


def follow_changes(subject: Subject) -> Verdict:
    """Every worker hears by this stream that a tenant was suspended."""
    with subject.admin_db.watch(max_await_time_ms=10) as stream:
        stream.try_next()
    return good("the admin database's can be followed")


def look_at_admin_indexes(subject: Subject) -> Verdict:
    """The unique ones keep two tenants from having one name."""
    drift = find_drift(subject.admin_db, DOCUMENTS)
    if wrong := [_named(it) for it in drift if it.kind != "unknown"]:
        return bad(
            some(wrong),
            "drop what is different, then make them: `Model(db, document).ensure_indexes()` for"
            " each document of multitenant/schemas/admin",
        )
    return good("as the schemas declare them")


def look_at_records(subject: Subject) -> Verdict:
    """The tenants' records are as the schema says, by which they are served."""
    damaged = [
        f"{tenant_id}: {', '.join(fields)}"
        for tenant_id, fields in tenants.find_damaged_tenants(subject.admin_db)
    ]
    if damaged:
        return bad(
            f"damaged records: {some(damaged)}",
            "correct these fields in the collection `tenants` of the admin database; until then"
            " these tenants are refused",
        )
    return good("all tenants' records are as the schema says")


def look_at_versions(subject: Subject) -> Verdict:
    """The tenants' databases are of this release, as their records say."""
    versions = tenants.list_schema_versions(subject.admin_db)
    ahead = sum(count for version, count in versions.items() if version > TENANT_VERSION)
    behind = sum(count for version, count in versions.items() if version < TENANT_VERSION)
    if ahead:
        return bad(f"{ahead} tenants are newer than this release", "run the newer release")
    if behind:
        return poor(
            f"{behind} of {sum(versions.values())} tenants are older than this release",
            "run `multitenant migrations run`",
        )
    return good(f"all {sum(versions.values())} tenants have version {TENANT_VERSION}")


def look_at_tenant_indexes(subject: Subject) -> Verdict:
    """Those of all tenants' databases, or of a few that are picked at random."""
    admin_db = subject.admin_db
    records = (
        tenants.find_tenants_for_migration(admin_db)
        if subject.everything
        else tenants.sample_tenants(admin_db, SAMPLE)
    )
    wrong, unseen, lost = [], [], []
    for record in records:
        drift: list[IndexDrift] = []
        with contained(f"Tenant {record['_id']}: not looked into") as failure:
            drift = _drift(subject, record)
        if isinstance(failure.error, DatabaseLost):
            lost.append(f"{record['name']}: {failure.error}")
        elif failure:
            unseen.append(f"{record['name']} ({failure.name})")
        if named := [_named(it) for it in drift if it.kind != "unknown"]:
            wrong.append(f"{record['name']}: {', '.join(named)}")
    if lost:
        return bad(
            some(lost), "these tenants are refused until that is done; repair no indexes there"
        )
    if wrong:
        return bad(some(wrong), "run `multitenant migrations status --indexes --repair`")
    if unseen:
        return poor(
            f"could not be looked into: {some(unseen)}",
            "see whether these tenants' servers can be reached, with the credentials they have",
        )
    what = "all" if subject.everything else "a sample of"
    return good(f"{what} {len(records)} tenants have those that the schemas declare")


def look_at_notes(subject: Subject) -> Verdict:
    """What killed processes have left is dropped by and by."""
    notes = find_orphans(
        subject.admin_db,
        older_than=LEFT_OVER_AFTER,
        keep_prepared=subject.settings.provisioning_pool_size,
    )
    if notes:
        names = some([note["dbName"] for note in notes])
        return poor(
            f"left over for more than an hour: {names}",
            "run `multitenant tenants gc`, best every night with --yes",
        )
    return good("nothing is left over")


def look_at_maintenance(subject: Subject) -> Verdict:
    """It ends with the work that it was for, or a minute after that work was killed."""
    found = tenants.find_tenants_in_maintenance(subject.admin_db)
    endless = [it["name"] for it in found if "maintenanceUntil" not in it]
    ending = [it for it in found if "maintenanceUntil" in it]
    over = [it["name"] for it in ending if it["maintenanceUntil"] < utc_now()]
    if endless:
        mend = "when it is over, run `multitenant tenants activate` for each"
        return poor(f"in maintenance, with no end set: {some(endless)}", mend)
    if over:
        mend = "run `multitenant tenants gc`, best every night with --yes"
        return poor(f"at work again, and still recorded as in maintenance: {some(over)}", mend)
    return good(f"{len(found)} tenants are in maintenance now")


def look_at_keys(subject: Subject) -> Verdict:
    """CREDENTIAL_KEYS has the keys that stored credentials were encrypted with."""
    unreadable = outdated = 0
    for found in encrypted_fields.find_with_other_key(
        subject.admin_db, subject.cipher.current_key_id
    ):
        outdated += 1
        try:
            subject.cipher.decrypt(found.value, record_id=found.record_id, field=found.field)
        except DecryptionFailed:
            unreadable += 1
    if unreadable:
        return bad(
            f"{unreadable} stored credentials cannot be decrypted",
            "put the key that they were encrypted with back into CREDENTIAL_KEYS, behind the new"
            " one",
        )
    if outdated:
        return poor(
            f"{outdated} stored credentials have an old key", "run `multitenant keys rotate`"
        )
    return good("all stored credentials have the current key")


def _drift(subject: Subject, record: MongoDocument) -> list[IndexDrift]:
    uri = decrypt_uri(subject.cipher, record.get("dbUri"), record["_id"])
    with (
        pymongo.timeout(TENANT_SECONDS),
        subject.connections.operator_client(record["cluster"], uri) as client,
        widened_scope(record["dbName"]),
    ):
        db = client[record["dbName"]]
        if problem := find_problem(subject.admin_db, db, record["_id"]):
            raise DatabaseLost(f"The database {db.name} {problem}")
        return find_drift(db, tenant_schemas.DOCUMENTS)


def _named(drift: IndexDrift) -> str:
    return f"{drift.collection}.{drift.index} is {drift.kind}"
