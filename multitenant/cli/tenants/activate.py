"""`multitenant tenants activate`."""

import click

from multitenant.cli.options import json_option
from multitenant.cli.tenants.shared import move_tenant, tenant_argument


@click.command()
@tenant_argument
@json_option
def activate(named: str, as_json: bool) -> None:
    """Activate a suspended tenant: its users can work again.

    \b
    Example:
      multitenant tenants activate acme
    """  # noqa: D301  # click wants a real backspace here
    move_tenant(named, "activate", as_json=as_json)
