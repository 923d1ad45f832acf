"""Checks of what is on one cluster, against what the admin database knows."""

import re
from pathlib import Path
from typing import Any

from multitenant.addresses import is_loopback
from multitenant.repositories.admin import tenants
from multitenant.tenancy.identity import find_problem
from multitenant.tenancy.lifecycle.orphans import known_databases
from multitenant.tenancy.operations.doctor.admin_checks import some
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.verdict import Verdict, bad, good, poor, unknown

FILES_PER_TENANT = 36
"""Collections and indexes of a tenant, each a file (docs/performance.md)."""
MUCH = 0.8
FEW_FILES = "Soft rlimits for open file descriptors too low"
RECOMMENDED_FILES = 64_000
"""With fewer, mongod warns when it starts."""


def look_for_orphans(subject: Subject) -> Verdict:
    """Databases that have the tenants' prefix, and that nothing in the admin database explains."""
    found = _orphans(subject) and _orphans(subject)  # a tenant may just have come or gone
    if found:
        return poor(
            f"no tenant's: {some(sorted(found))}",
            "look into them before you drop any: they may be of a platform with the same"
            " TENANT_DB_PREFIX, or of tenants that an older backup of the admin database lacks",
        )
    return good("every database with the tenants' prefix is known")


def look_for_databases(subject: Subject) -> Verdict:
    """Every tenant that is recorded here has its own database here, as provisioning made it."""
    gone = _without_database(subject)
    gone = {name: gone[name] for name in gone.keys() & _without_database(subject).keys()}
    if gone:
        names = some([f"{tenant} ({name})" for name, tenant in sorted(gone.items())])
        return bad(
            f"tenants without a database: {names}",
            f"see whether {subject.uri_setting} leads to the right servers; if so, restore these"
            " databases from a backup",
        )
    if wrong := _not_their_own(subject):
        return bad(
            some(wrong),
            "these tenants are refused until that is done; nothing repairs their databases",
        )
    return good("every tenant has its own database")


def look_at_open_files(subject: Subject) -> Verdict:
    """Mongod may open the files of all tenants at a time."""
    status = subject.client.admin.command("serverStatus")
    count = tenants.count_tenants(subject.admin_db, subject.cluster)
    needed = count * FILES_PER_TENANT
    if "wiredTiger" not in status:
        return unknown(f"{needed} files for {count} tenants, spread over the shards")
    opened = status["wiredTiger"]["connection"]["files currently open"]
    limit = _file_limit(subject, status)
    found = f"{opened} files are open; {count} tenants, all in use, have {needed}"
    mend = "raise mongod's limit of open files (LimitNOFILE=, ulimit -n), or add a cluster"
    if limit is None:
        return unknown(f"{found}. MongoDB does not tell its limit here", mend)
    found += f"; the limit is {limit}"
    return poor(found, mend) if max(needed, opened) > limit * MUCH else good(found)


def _file_limit(subject: Subject, status: dict[str, Any]) -> int | None:
    """The limit of mongod's process where it is on this machine, or what it has said about it when
    it started; None where neither can be read."""
    address = subject.client.address
    if address and is_loopback(address[0]):
        process = Path("/proc") / str(int(status["pid"]))
        try:
            if (process / "comm").read_text().strip() == "mongod":
                limits = (process / "limits").read_text()
                if match := re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE):
                    return int(match.group(1))
        except OSError:
            pass  # another system, another user's process, a container's
    said = subject.client.admin.command({"getLog": "startupWarnings"})["log"]
    about = [line for line in said if FEW_FILES in line]
    match = re.search(r'"currentValue":(\d+)', about[0]) if about else None
    return int(match.group(1)) if match else None if about else RECOMMENDED_FILES


def _orphans(subject: Subject) -> set[str]:
    """What is there is looked at first: a database is noted before it is made."""
    prefix = subject.settings.tenant_db_prefix
    there = {name for name in _databases(subject) if name.startswith(prefix)}
    return there - known_databases(subject.admin_db, subject.cluster)


def _without_database(subject: Subject) -> dict[str, str]:
    """The names of databases that should be there, and whose they are."""
    recorded = tenants.list_db_names(subject.admin_db, subject.cluster)
    there = _databases(subject)
    return {name: tenant for name, tenant in recorded.items() if name not in there}


def _not_their_own(subject: Subject) -> list[str]:
    """What is wrong with databases that are there, and are not what the platform made for the
    tenants whose records name them."""
    wrong = []
    for record in tenants.find_tenants_on_cluster(subject.admin_db, subject.cluster):
        if not record["dbName"]:
            continue  # the check of the records names it
        db = subject.client[record["dbName"]]
        if find_problem(subject.admin_db, db, record["_id"]) is None:
            continue
        # It may just have been purged, or have moved.
        current = tenants.find_stored_tenant(subject.admin_db, record["_id"]) or {}
        if (current.get("cluster"), current.get("dbName")) == (subject.cluster, db.name):
            problem = find_problem(subject.admin_db, db, record["_id"])
            if problem is not None:
                wrong.append(f"{record['name']} ({db.name}) {problem}")
    return wrong


def _databases(subject: Subject) -> set[str]:
    """The names of all databases of the cluster; raises OperationFailure where it would be only
    some of them."""
    listed = subject.client.admin.command("listDatabases", nameOnly=True, authorizedDatabases=False)
    return {one["name"] for one in listed["databases"]}
