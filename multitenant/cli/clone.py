"""`multitenant clone`."""

from typing import IO

import click

from multitenant.cli.byte_bar import byte_bar
from multitenant.cli.copy_options import (
    cluster_option,
    isolation_option,
    new_tenant,
    read_uri,
    report_copy,
    subdomain_option,
    uri_option,
)
from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.usage import database_size
from multitenant.services.admin.tenants import get_named_tenant
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.platform_access import tenant_database


@click.command()
@click.argument("tenant")
@click.argument("name")
@subdomain_option
@isolation_option
@cluster_option
@uri_option
@json_option
def clone(
    tenant: str,
    name: str,
    subdomain: str | None,
    isolation: str | None,
    cluster: str | None,
    db_uri_file: IO[str] | None,
    as_json: bool,
) -> None:
    """Make a new tenant NAME with the data that TENANT (an id, subdomain or name) has now.

    The data is copied as it is at one moment, while TENANT works. The users are copied, too, with
    their passwords: who belongs to both tenants says which at login.

    \b
    Example:
      multitenant clone acme "Acme test" --subdomain acme-test
    """  # noqa: D301  # click wants a real backspace here
    new = new_tenant(
        name=name,
        subdomain=subdomain,
        isolation=isolation,
        cluster=cluster,
        dbUri=read_uri(db_uri_file),
    )
    with running_database() as settings, opened_platform(settings) as platform:
        record = get_named_tenant(platform.connections.admin_db, tenant)
        with tenant_database(platform.connections, platform.cipher, record) as db:
            size = int(database_size(db)["bytes"])
        with byte_bar("Copying", size) as progress:
            made = platform.copies.clone(record, new, Actor.on_command_line(), progress)
    report_copy(made, as_json=as_json)
