"""`multitenant migrations new`."""

import re
from pathlib import Path

import click

from multitenant import migrations as package

TEMPLATE = '''\
"""{title}."""

from multitenant.repositories.model import MongoDatabase

# One that only makes collections has their documents instead: CREATES = (InvoiceDocument,)


def up(db: MongoDatabase) -> None:
    """Say what it does; may run again."""


def down(db: MongoDatabase) -> None:
    """Undo it; may run again."""
'''


@click.command()
@click.argument("name")
@click.option("--admin", is_flag=True, help="For the admin database, not for the tenants'.")
def new(name: str, admin: bool) -> None:
    """Make the file of the next migration, called NAME (such as `invoices`).

    It goes into the source of this package; a released one is never changed.

    \b
    Example:
      multitenant migrations new invoices
    """  # noqa: D301  # click wants a real backspace here
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise click.BadParameter("has no letter or digit", param_hint="NAME")
    folder = Path(package.__path__[0]) / ("admin" if admin else "tenant")
    taken = [int(path.name[1:5]) for path in folder.glob("m[0-9][0-9][0-9][0-9]_*.py")]
    path = folder / f"m{max(taken, default=0) + 1:04}_{slug}.py"
    path.write_text(TEMPLATE.format(title=slug.replace("_", " ").capitalize()), encoding="utf-8")
    click.echo(path)
