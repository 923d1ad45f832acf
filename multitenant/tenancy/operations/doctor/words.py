"""Why servers cannot be reached, in words that a person can act on."""

import re

from pymongo.errors import ServerSelectionTimeoutError

from multitenant.addresses import format_address
from multitenant.repositories.error_texts import explain, text_of
from multitenant.tenancy.operations.doctor.heartbeats import Address
from multitenant.tenancy.operations.doctor.subject import Subject

MEANINGS = (
    (r"Connection refused", "nothing listens there"),
    (r"Name or service|nodename nor|No address|name resolution|DNS", "its name is not known"),
    (r"CERTIFICATE_VERIFY_FAILED", "its TLS certificate is not one that this machine trusts"),
    (r"SSL|TLS", "it does not speak TLS, or not as the URI asks for it"),
    (r"timed out|timeout", "it does not answer (is there a firewall between?)"),
    (r"connection closed", "it closes the connection (does it want TLS, `tls=true`?)"),
    (r"unreachable|No route", "there is no way to it in this network"),
)
GRANT = (
    "grant the MongoDB user of {} the roles readWriteAnyDatabase and dbAdminAnyDatabase"
    " (db.grantRolesToUser)"
)


def why_unreachable(subject: Subject, error: ServerSelectionTimeoutError) -> str:
    """Say of each server of the cluster's URI why it could not be used."""
    seeds = subject.client._topology_settings.seeds  # noqa: SLF001  # nothing public keeps them
    servers = {*seeds, *subject.client.topology_description.server_descriptions()}
    reasons = [
        f"{_name(address)}: {_meaning(problem)}"
        for address, problem in subject.heartbeats.errors.items()
        if address in servers
    ]
    wanted = subject.client.options.replica_set_name
    for address, hello in subject.heartbeats.hellos.items():  # those of another set are not used
        actual = hello.document.get("setName")
        if wanted and actual != wanted and address in servers:
            what = f"belongs to the replica set {actual!r}" if actual else "is a standalone server"
            reasons.append(f"{_name(address)} {what}, and the URI says replicaSet={wanted}")
    return "; ".join(reasons) or explain(error)


def _meaning(error: Exception) -> str:
    text = text_of(error)
    for pattern, meaning in MEANINGS:
        if re.search(pattern, text):
            return meaning
    return explain(error)


def _name(address: Address) -> str:
    return format_address(*address)
