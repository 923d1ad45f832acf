"""Checks of one cluster that do, in a database of their own, what the platform does."""

import time

from pymongo.errors import OperationFailure
from pymongo.write_concern import WriteConcern

from multitenant.errors import Conflict
from multitenant.repositories.error_codes import UNAUTHORIZED
from multitenant.repositories.transactions import run_transaction
from multitenant.tenancy.deployments.database_users import create_user, drop_user
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.verdict import Verdict, bad, good, poor
from multitenant.tenancy.operations.doctor.words import GRANT

COLLECTION = "doctor"
TRANSACTION_SECONDS = 5.0
SLOW_SECONDS = 1.0


def make_databases(subject: Subject) -> Verdict:
    """Every new tenant gets a database, which is noted first."""
    try:
        subject.scratch.note()
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return bad("it may not write to the admin database", GRANT.format("ADMIN_DB_URI"))
    try:
        subject.scratch.make(COLLECTION)
        subject.scratch.db[COLLECTION].create_index("number", unique=True)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return bad("it may not make databases", GRANT.format(subject.uri_setting))
    return good(f"made {subject.scratch.db.name}, to try things in")


def acknowledge_writes(subject: Subject) -> Verdict:
    """A majority of the members takes part, in time."""
    concern = WriteConcern("majority")
    started = time.monotonic()
    subject.scratch.db[COLLECTION].with_options(write_concern=concern).insert_one({"number": 1})
    took = time.monotonic() - started
    found = f"a majority acknowledged a write after {took * 1000:.0f} ms"
    if took > SLOW_SECONDS:
        return poor(found, "look at the load of the members, and at how far secondaries are behind")
    return good(found)


def have_transactions(subject: Subject) -> Verdict:
    """Adding a tenant is one."""
    collection = subject.scratch.db[COLLECTION]

    def write() -> None:
        collection.insert_one({"number": 2})
        collection.insert_one({"number": 3})

    run_transaction(subject.client, write, seconds=TRANSACTION_SECONDS)
    return good("two writes, committed together")


def have_change_streams(subject: Subject) -> Verdict:
    """Processes hear by them of each other's changes."""
    try:
        with subject.scratch.db.watch(max_await_time_ms=10) as stream:
            stream.try_next()
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return bad("it may not follow changes", GRANT.format(subject.uri_setting))
    return good("can be followed")


def make_users(subject: Subject) -> Verdict:
    """Dedicated tenants, and shells on tenants, have MongoDB users."""
    try:
        user = create_user(subject.scratch.db)
    except Conflict:
        return poor(
            "it may not make MongoDB users: no tenant can be dedicated, and `multitenant tenants"
            " shell` refuses to open",
            f"grant the MongoDB user of {subject.uri_setting} the roles userAdminAnyDatabase and"
            " clusterMonitor, or do without",
        )
    drop_user(subject.scratch.db, user.name)
    return good("made one, and dropped it")


def drop_databases(subject: Subject) -> Verdict:
    """Purging a tenant does it."""
    db = subject.scratch.db
    try:
        db.client.drop_database(db.name)
    except OperationFailure as error:
        if error.code != UNAUTHORIZED:
            raise
        return bad("it may not drop databases", GRANT.format(subject.uri_setting))
    subject.scratch.drop()
    return good(f"dropped {db.name}")
