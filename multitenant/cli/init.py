"""`multitenant init`."""

import click

from multitenant.cli.platform import running_database, set_up


@click.command()
def init() -> None:
    """Prepare the admin database: migrations, and the first operator.

    Run it once with each release, before the new workers start; `multitenant run` does it by
    itself. It may be run again at any time.

    \b
    Example:
      multitenant init
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings:
        set_up(settings)
    click.echo("The admin database is ready.", err=True)
