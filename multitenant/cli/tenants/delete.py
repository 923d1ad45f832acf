"""`multitenant tenants delete`."""

import click

from multitenant.cli.options import json_option, yes_option
from multitenant.cli.tenants.shared import move_tenant, tenant_argument


@click.command()
@tenant_argument
@yes_option
@json_option
def delete(named: str, yes: bool, as_json: bool) -> None:
    """Delete a tenant: nobody can work in it, and all its data stays.

    `multitenant tenants restore` brings it back, until `multitenant tenants purge` removes it for
    good, or `multitenant tenants gc` does, PURGE_AFTER_DAYS later.

    \b
    Examples:
      multitenant tenants delete acme
      multitenant tenants delete acme --yes --json
    """  # noqa: D301  # click wants a real backspace here
    move_tenant(named, "delete", as_json=as_json, question=None if yes else "Delete")
