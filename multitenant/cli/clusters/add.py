"""`multitenant clusters add`."""

import click

from multitenant.cli.clusters.shared import capacity_options, read_uri, uri_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor


@click.command()
@click.argument("name")
@uri_option
@capacity_options(least=1)
def add(name: str, uri_stdin: bool, **capacity: int | None) -> None:
    """Add a MongoDB deployment under NAME; new tenants go there at once.

    Its URI is asked for, or comes from standard input or the variable CLUSTER_URI: never from an
    argument, which everybody on the machine could see. It is checked before anything is written:
    that it can be reached, is a replica set or sharded cluster, lets its user do what is needed,
    and is no cluster of this platform already.

    \b
    Examples:
      multitenant clusters add blue --tenants 900
      pass show mongodb/blue | multitenant clusters add blue --uri-stdin
    """  # noqa: D301  # click wants a real backspace here
    uri = read_uri(stdin=uri_stdin)
    limits = {what: limit for what, limit in capacity.items() if limit is not None}
    with running_database() as settings, opened_platform(settings) as platform:
        found = platform.clusters.add(name, uri, limits, Actor.on_command_line())
    click.echo(f"Added {name}: {', '.join(found.identity.members)}", err=True)
    if not found.dedicated:
        click.echo(
            "Only shared tenants can live there: for dedicated ones its user needs the roles"
            " userAdminAnyDatabase and clusterMonitor as well",
            err=True,
        )
