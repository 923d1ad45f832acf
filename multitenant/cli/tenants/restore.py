"""`multitenant tenants restore`."""

import click

from multitenant.cli.options import json_option
from multitenant.cli.tenants.shared import move_tenant, tenant_argument


@click.command()
@tenant_argument
@json_option
def restore(named: str, as_json: bool) -> None:
    """Bring a deleted tenant back as it was: suspended, if it was.

    \b
    Example:
      multitenant tenants restore acme
    """  # noqa: D301  # click wants a real backspace here
    move_tenant(named, "restore", as_json=as_json)
