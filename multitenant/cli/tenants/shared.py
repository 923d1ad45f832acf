"""What the commands on one tenant share."""

import click
import orjson

from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.model import MongoDocument
from multitenant.schemas.admin.tenants import TenantAnswer
from multitenant.services.admin.tenants import get_named_tenant
from multitenant.tenancy.actor import Actor

tenant_argument = click.argument("named", metavar="TENANT")

LABELS = {
    "id": "id",
    "name": "name",
    "status": "status",
    "subdomain": "subdomain",
    "domains": "domains",
    "isolation": "isolation",
    "cluster": "cluster",
    "dbName": "database",
    "schemaVersion": "schema version",
    "modules": "modules",
    "userLimit": "user limit",
    "system": "the operators' own",
    "createdAt": "created",
    "updatedAt": "changed",
    "suspendedAt": "suspended",
    "deletedAt": "deleted",
}


def move_tenant(named: str, action: str, *, as_json: bool, question: str | None = None) -> None:
    """Do to the tenant what TenantLifecycle.move() calls `action`, and tell how it is then; ask
    `question` before, if there is one."""
    with running_database() as settings, opened_platform(settings) as platform:
        record = get_named_tenant(platform.connections.admin_db, named)
        if question:
            click.confirm(f"{question} {describe(record)}?", abort=True, err=True)
        moved = platform.lifecycle.move(
            record["_id"], action, Actor.on_command_line(), seen=record if question else None
        )
    if as_json:
        print_tenant(moved, as_json=True)
    else:
        click.echo(f"{describe(moved)} is {moved['status']} now")


def describe(record: MongoDocument) -> str:
    """The tenant's name, with what tells it from others of nearly the same name."""
    return f"{record['name']} ({record['_id']})"


def print_tenant(record: MongoDocument, *, as_json: bool) -> None:
    """Print what operators may see of the tenant: no URI, no credentials."""
    shown = TenantAnswer.of(record)
    if as_json:
        click.echo(orjson.dumps(shown, option=orjson.OPT_INDENT_2))
        return
    for field, label in LABELS.items():
        if (value := shown[field]) not in (None, [], False):
            text = ", ".join(value) if isinstance(value, list) else str(value)
            click.echo(f"{label + ':':<20}{'yes' if value is True else text}")
