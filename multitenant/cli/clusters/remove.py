"""`multitenant clusters remove`."""

import click

from multitenant.cli.options import ask, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor


@click.command()
@click.argument("name")
@yes_option
def remove(name: str, yes: bool) -> None:
    """Close a drained cluster on which nothing is any more, and forget it with its URI.

    \b
    Example:
      multitenant clusters remove blue
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        record = platform.clusters.get(name)
        ask(f"Remove the cluster {name}?", yes=yes)
        platform.clusters.remove(name, Actor.on_command_line(), seen=record)
    click.echo(f"{name} is removed", err=True)
