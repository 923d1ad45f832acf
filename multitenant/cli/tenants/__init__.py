"""`multitenant tenants`, one module for each of its commands."""

import click

from multitenant.cli.tenants.activate import activate
from multitenant.cli.tenants.add import add
from multitenant.cli.tenants.delete import delete
from multitenant.cli.tenants.gc import gc
from multitenant.cli.tenants.list import list_tenants
from multitenant.cli.tenants.purge import purge
from multitenant.cli.tenants.restore import restore
from multitenant.cli.tenants.shell import shell
from multitenant.cli.tenants.show import show
from multitenant.cli.tenants.suspend import suspend


@click.group()
def tenants() -> None:
    """Operate on tenants, which are named by id, subdomain or name.

    \b
    Examples:
      multitenant tenants list --status suspended
      multitenant tenants add Acme ann@acme.example --subdomain acme
      multitenant tenants suspend acme
    """  # noqa: D301  # click wants a real backspace here


for command in (
    list_tenants,
    add,
    show,
    suspend,
    activate,
    delete,
    restore,
    purge,
    gc,
    shell,
):
    tenants.add_command(command)
