"""`multitenant tenants purge`."""

import sys

import click
import orjson

from multitenant.cli.options import json_option, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.cli.tenants.shared import describe, tenant_argument
from multitenant.errors import Conflict
from multitenant.services.admin.tenants import get_named_tenant
from multitenant.tenancy.actor import Actor


@click.command()
@tenant_argument
@yes_option
@click.option("--confirm", metavar="NAME", help="The tenant's name; together with --yes.")
@json_option
def purge(named: str, yes: bool, confirm: str | None, as_json: bool) -> None:
    """Remove a deleted tenant for good: database, MongoDB user, memberships, record.

    There is no way back. It asks for the tenant's name, unless --yes and --confirm are given.
    Exits with 1 when something of the tenant is still there.

    \b
    Examples:
      multitenant tenants purge acme
      multitenant tenants purge 6b0147c1e83b5f0c6a4f2d11 --yes --confirm Acme
    """  # noqa: D301  # click wants a real backspace here
    if yes and confirm is None:
        raise click.UsageError("--yes needs --confirm with the tenant's name")
    with running_database() as settings, opened_platform(settings) as platform:
        record = get_named_tenant(platform.connections.admin_db, named)
        if record["status"] != "deleted":
            raise Conflict(f"{describe(record)} is {record['status']}; delete it first")
        if not yes:
            question = f"Type the name of {describe(record)} to remove it and all its data for good"
            confirm = click.prompt(question, err=True)
        assert confirm is not None
        gone = platform.lifecycle.purge(
            record["_id"], confirm, Actor.on_command_line(), seen=record
        )
    if as_json:
        click.echo(orjson.dumps({"tenantId": str(record["_id"]), "gone": gone}))
    else:
        for thing, is_gone in gone.items():
            click.echo(f"{thing}: {'gone' if is_gone else 'STILL THERE'}")
    if not all(gone.values()):
        sys.exit(1)
