"""`multitenant tenants show`."""

import click

from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.cli.tenants.shared import print_tenant, tenant_argument
from multitenant.services.admin.tenants import get_named_tenant, get_tenant


@click.command()
@tenant_argument
@json_option
def show(named: str, as_json: bool) -> None:
    """Show a tenant, without URIs and credentials.

    \b
    Examples:
      multitenant tenants show acme
      multitenant tenants show 6b0147c1e83b5f0c6a4f2d11 --json
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        admin_db = platform.connections.admin_db
        record = get_tenant(admin_db, get_named_tenant(admin_db, named)["_id"])
    print_tenant(record, as_json=as_json)
