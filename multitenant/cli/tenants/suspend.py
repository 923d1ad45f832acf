"""`multitenant tenants suspend`."""

import click

from multitenant.cli.options import json_option, yes_option
from multitenant.cli.tenants.shared import move_tenant, tenant_argument


@click.command()
@tenant_argument
@yes_option
@json_option
def suspend(named: str, yes: bool, as_json: bool) -> None:
    """Suspend a tenant: within a second every process refuses its users.

    \b
    Examples:
      multitenant tenants suspend acme
      multitenant tenants suspend acme --yes --json
    """  # noqa: D301  # click wants a real backspace here
    question = None if yes else "Refuse all users of"
    move_tenant(named, "suspend", as_json=as_json, question=question)
