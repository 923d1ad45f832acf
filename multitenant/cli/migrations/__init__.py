"""`multitenant migrations`, one module for each of its commands."""

import click

from multitenant.cli.migrations.new import new
from multitenant.cli.migrations.rollback import rollback
from multitenant.cli.migrations.run import run
from multitenant.cli.migrations.status import status


@click.group()
def migrations() -> None:
    """Migrate the admin database and the databases of all tenants.

    \b
    Examples:
      multitenant migrations status
      multitenant migrations run --canary 5
    """  # noqa: D301  # click wants a real backspace here


for command in (status, run, rollback, new):
    migrations.add_command(command)
