"""The databases that a tenant had before a restore or a move, which are kept until confirmed."""

import json

import click

from multitenant.cli.options import ask
from multitenant.extensions import Platform
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.actor import Actor


def drop_kept_databases(
    platform: Platform, record: MongoDocument, *, action: str, yes: bool, as_json: bool
) -> None:
    """Ask, drop them, and tell which were dropped; the audit log calls it `action`. Raises NotFound
    when none is kept, Conflict when others are by then, and ClickException when some are left."""
    notes = platform.restoration.kept(record["_id"])
    kept = [note["dbName"] for note in notes]
    if kept:
        ask(f"Drop {', '.join(kept)}, which {record['name']} had before, for good?", yes=yes)
    dropped = platform.restoration.confirm(
        record["_id"], Actor.on_command_line(), action=action, seen=notes
    )
    if as_json:
        click.echo(json.dumps({"tenantId": str(record["_id"]), "dropped": dropped}))
    else:
        click.echo(f"Dropped {', '.join(dropped)}")
    if left := set(kept) - set(dropped):
        raise click.ClickException(f"These are left; see the log: {', '.join(sorted(left))}")
