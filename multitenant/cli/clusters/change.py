"""`multitenant clusters change`."""

import click

from multitenant.cli.clusters.shared import capacity_options, read_uri, uri_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor


@click.command()
@click.argument("name")
@click.option("--uri", "new_uri", is_flag=True, help="Ask for another URI of the same deployment.")
@uri_option
@capacity_options(least=0)
def change(name: str, new_uri: bool, uri_stdin: bool, **capacity: int | None) -> None:
    """Change the limits or the URI of a cluster, while it works.

    Another URI (another password, other host names) must lead to the same deployment. Every process
    follows within a second, and no request fails. CLUSTER_URI gives it without a question.

    \b
    Examples:
      multitenant clusters change default --tenants 500
      multitenant clusters change blue --uri
    """  # noqa: D301  # click wants a real backspace here
    limits = {what: limit or None for what, limit in capacity.items() if limit is not None}
    wanted = new_uri or uri_stdin
    if not wanted and not limits:
        raise click.UsageError("Say what to change: --uri, or a limit")
    uri = read_uri(stdin=uri_stdin) if wanted else None
    with running_database() as settings, opened_platform(settings) as platform:
        platform.clusters.change(name, Actor.on_command_line(), uri=uri, capacity=limits)
    click.echo(f"Changed {name}", err=True)
