"""`multitenant clusters`, one module for each of its commands."""

import click

from multitenant.cli.clusters.add import add
from multitenant.cli.clusters.change import change
from multitenant.cli.clusters.close import close
from multitenant.cli.clusters.drain import drain
from multitenant.cli.clusters.list import list_clusters
from multitenant.cli.clusters.remove import remove


@click.group()
def clusters() -> None:
    """Operate on the MongoDB deployments that tenants live on.

    `default` is the admin database's own. Each other one is a replica set or sharded cluster; its
    URI is kept encrypted in the admin database, and every process learns of it without restart.

    \b
    Examples:
      multitenant clusters list
      multitenant clusters add blue --tenants 900
    """  # noqa: D301  # click wants a real backspace here


for command in (list_clusters, add, change, drain, close, remove):
    clusters.add_command(command)
