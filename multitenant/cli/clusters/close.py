"""`multitenant clusters close`."""

import click

from multitenant.cli.options import ask, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor


@click.command()
@click.argument("name")
@yes_option
def close(name: str, yes: bool) -> None:
    """Give up a drained cluster on which nothing is any more.

    No process is connected to it from then on. Its record stays: `clusters drain --undo` takes it
    back into service.

    \b
    Example:
      multitenant clusters close blue
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        record = platform.clusters.get(name)
        ask(f"Close the cluster {name}?", yes=yes)
        platform.clusters.close(name, Actor.on_command_line(), seen=record)
    click.echo(f"{name} is closed", err=True)
