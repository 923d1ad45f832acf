"""Checks of one cluster that only look."""

import ssl
from datetime import UTC, datetime
from typing import Any

from pymongo import ReadPreference
from pymongo.errors import OperationFailure, ServerSelectionTimeoutError

from multitenant.addresses import format_address, is_loopback
from multitenant.repositories.error_codes import COMMAND_NOT_FOUND
from multitenant.tenancy.deployments.clusters import DEFAULT_CLUSTER
from multitenant.tenancy.deployments.deployments import NEEDED, privileges
from multitenant.tenancy.operations.doctor.releases import (
    AS_OF,
    find_holes,
    is_out_of_support,
)
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.verdict import Verdict, bad, good, poor, unknown
from multitenant.tenancy.operations.doctor.words import GRANT, why_unreachable

MIN_VERSION = (6, 0)
WORKING_STATES = (1, 2, 7)
"""Primary, secondary, arbiter."""
CLOCK_WARNING_SECONDS = 1.0
CLOCK_FAILURE_SECONDS = 30.0
FEW_CONNECTIONS = 0.1
REFUSED = "Authentication failed"
"""What PyMongo says, also when it has tried again until its time was over."""
SHARDED = "a sharded cluster: ask each shard"


def reach(subject: Subject) -> Verdict:
    """Some server answers, whatever it thinks of the password."""
    client = subject.client
    try:
        client.admin.command("ping", read_preference=ReadPreference.NEAREST)
    except ServerSelectionTimeoutError as error:
        if REFUSED in str(error):
            return _answers(subject)
        return bad(
            why_unreachable(subject, error),
            f"see that MongoDB runs, and correct the hosts and options of {subject.uri_setting}",
        )
    except OperationFailure:
        pass
    return _answers(subject)


def log_in(subject: Subject) -> Verdict:
    """The credentials are taken."""
    try:
        status = subject.client.admin.command(
            "connectionStatus", read_preference=ReadPreference.NEAREST
        )
    except (OperationFailure, ServerSelectionTimeoutError) as error:
        if REFUSED not in str(error):
            raise
        return bad(
            "MongoDB refuses the user or the password",
            f"see user, password and authSource (often `admin`) in {subject.uri_setting}",
        )
    info = status["authInfo"]
    if not info["authenticatedUsers"]:
        verdict = bad if subject.settings.production else poor
        return verdict(
            f"nobody logs in: {subject.uri_setting} has no user",
            "let MongoDB run with authentication, and put user and password into the URI",
        )
    roles = sorted({role["role"] for role in info["authenticatedUserRoles"]})
    return good(f"with the roles {', '.join(roles) or 'none'}")


def have_rights(subject: Subject) -> Verdict:
    """The user may do what the platform does, in the admin database and in all databases."""
    if not subject.client.admin.command("connectionStatus")["authInfo"]["authenticatedUsers"]:
        return good("everybody may do everything: nobody logs in")
    missing = NEEDED - privileges(subject.client)[0]
    where = "every database"
    if subject.cluster == DEFAULT_CLUSTER:
        name = subject.settings.admin_db_name
        if in_admin_db := NEEDED - privileges(subject.client, name)[0]:
            missing, where = in_admin_db, f"the admin database {name}"
    if missing:
        return bad(
            f"the user of {subject.uri_setting} may not {', '.join(sorted(missing))} in {where}",
            GRANT.format(subject.uri_setting),
        )
    return good("all that the platform does")


def be_replica_set(subject: Subject) -> Verdict:
    """Transactions and change streams need one."""
    hello = _hello(subject)
    if hello.get("msg") == "isdbgrid":
        return good("a sharded cluster")
    if "setName" in hello:
        return good(f"the replica set {hello['setName']}")
    return bad(
        "a standalone server, which has neither transactions nor change streams",
        "start mongod with --replSet (one member is enough) and run rs.initiate()",
    )


def have_primary(subject: Subject) -> Verdict:
    """Writes have somewhere to go."""
    try:
        subject.client.admin.command("ping", read_preference=ReadPreference.PRIMARY)
    except ServerSelectionTimeoutError:
        return bad(
            "no member is primary, so nothing can be written",
            "rs.status() says why: a majority of the voting members must run and see each other",
        )
    hello = _hello(subject, ReadPreference.PRIMARY)
    return good(str(hello.get("primary", "mongos")))


def have_majority(subject: Subject) -> Verdict:
    """Enough members work that one may fail, or at least that writes are acknowledged."""
    try:
        status = subject.client.admin.command("replSetGetStatus")
    except OperationFailure as error:
        if error.code == COMMAND_NOT_FOUND:
            return unknown(SHARDED)
        raise
    members = status["members"]
    ill = [it for it in members if not it["health"] or it["state"] not in WORKING_STATES]
    told = ", ".join(f"{it['name']} is {it['stateStr']}" for it in ill)
    mend = "look into the log of those members; rs.status() has more"
    working = len(members) - len(ill)
    if working < status.get("majorityVoteCount", 1):
        return bad(f"{working} of {len(members)} members work: {told}", mend)
    if ill:
        return poor(f"{working} of {len(members)} members work: {told}", mend)
    if len(members) == 1 and subject.settings.production:
        return poor(
            "a single member: while it is down, so is the platform",
            "add two more members (rs.add()), on machines of their own",
        )
    return good(f"{working} of {len(members)} members work")


def be_recent(subject: Subject) -> Verdict:
    """The version has what the platform uses."""
    version = subject.client.server_info()["version"]
    if _numbers(version) < MIN_VERSION:
        return bad(f"MongoDB {version}", "run MongoDB 6.0 or later")
    return good(f"MongoDB {version}")


def be_supported(subject: Subject) -> Verdict:
    """The version gets fixes, and has those that there are."""
    told = subject.client.server_info()["versionArray"]
    version = (told[0], told[1], told[2])
    shown = ".".join(map(str, version))
    found = [f"{hole.name}, by which {hole.what}" for hole in find_holes(version)]
    if is_out_of_support(version, datetime.now(UTC).date()):
        found.insert(0, "it gets no fixes any more")
    if found:
        return poor(
            f"MongoDB {shown}: {'; '.join(found)}",
            "run the newest patch of a release series that MongoDB supports; until then keep"
            " strangers off its port, and start it with networkMessageCompressors snappy,zstd",
        )
    return good(f"MongoDB {shown} has no hole that was known on {AS_OF:%Y-%m-%d}")


def be_upgraded(subject: Subject) -> Verdict:
    """The feature compatibility version is that of the binaries: the last step of an upgrade."""
    try:
        told = subject.client.admin.command({"getParameter": 1, "featureCompatibilityVersion": 1})
    except OperationFailure as error:
        if subject.client.is_mongos:
            return unknown(SHARDED)
        raise error
    compatible = told["featureCompatibilityVersion"]["version"]
    version = subject.client.server_info()["version"]
    found = f"{compatible}, with MongoDB {version}"
    mend = "once all members run well, run setFeatureCompatibilityVersion with the newer one"
    if _numbers(compatible) < MIN_VERSION:
        return bad(found, mend)
    return poor(found, mend) if _numbers(compatible) < _numbers(version) else good(found)


def agree_on_time(subject: Subject) -> Verdict:
    """Processes go by the clock of the admin database's primary (clock.py), which another member
    may become; logs go by each machine's own."""
    seen = subject.heartbeats.hellos
    servers = [it for it in subject.client.topology_description.server_descriptions() if it in seen]
    if not servers:
        return unknown("no server has told its time")
    ahead = {
        format_address(host, port): max(0, abs(it.ahead_seconds) - it.uncertain_seconds / 2)
        * (1 if it.ahead_seconds > 0 else -1)
        for (host, port), it in ((server, seen[server]) for server in servers)
    }
    server, most = max(ahead.items(), key=lambda one: abs(one[1]))
    if abs(most) <= CLOCK_WARNING_SECONDS:
        return good(f"within {CLOCK_WARNING_SECONDS:g} s of this machine's")
    verdict = bad if abs(most) > CLOCK_FAILURE_SECONDS else poor
    return verdict(
        f"{server} is {abs(most):.1f} s {'ahead of' if most > 0 else 'behind'} this machine",
        "run a time service (chrony, systemd-timesyncd) on both",
    )


def be_encrypted(subject: Subject) -> Verdict:
    """What goes over a network can be read there."""
    context = subject.client.options.pool_options._ssl_context  # noqa: SLF001  # nothing public tells
    servers = subject.client.topology_description.server_descriptions()
    remote = sorted(format_address(*it) for it in servers if not is_loopback(it[0]))
    if context is not None and context.verify_mode == ssl.CERT_NONE:
        return poor(
            "encrypted, but whoever answers is believed to be MongoDB",
            f"take the options that allow invalid certificates out of {subject.uri_setting}",
        )
    if context is not None:
        return good("encrypted")
    if not remote:
        return good("not encrypted, and does not leave this machine")
    if not subject.settings.production:
        return good(f"not encrypted to {', '.join(remote)}, in development")
    return poor(
        f"not encrypted to {', '.join(remote)}: passwords of users and all data are readable on"
        " the way",
        f"let MongoDB run with TLS, and add tls=true to {subject.uri_setting}",
    )


def have_connections(subject: Subject) -> Verdict:
    """What the workers of this machine may open fits into what mongod takes."""
    counts = subject.client.admin.command("serverStatus")["connections"]
    takes, free = counts["current"] + counts["available"], counts["available"]
    settings = subject.settings
    may = settings.workers * settings.connection_budget
    found = f"{free} of {takes} free; {settings.workers} workers may open up to {may}"
    if free < takes * FEW_CONNECTIONS:
        return bad(
            found, "see in db.currentOp(true) who has them; raise net.maxIncomingConnections"
        )
    if may > takes:
        return poor(
            found,
            "lower CONNECTION_BUDGET or WORKERS, or raise net.maxIncomingConnections of mongod",
        )
    return good(found)


def _answers(subject: Subject) -> Verdict:
    servers = subject.client.topology_description.server_descriptions()
    return good(", ".join(sorted(format_address(*it) for it in servers)))


def _hello(subject: Subject, preference: Any = ReadPreference.NEAREST) -> dict[str, Any]:
    return dict(subject.client.admin.command("hello", read_preference=preference))


def _numbers(version: str) -> tuple[int, int]:
    major, minor = version.split(".")[:2]
    return int(major), int(minor)
