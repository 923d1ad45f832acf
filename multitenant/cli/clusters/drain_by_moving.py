"""`multitenant clusters drain --move`."""

import json
import sys

import click

from multitenant.cli.move import told
from multitenant.extensions import Platform
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.moving import MoveOutcome


def move_away(
    platform: Platform,
    cluster: str,
    records: list[MongoDocument],
    to: str | None,
    *,
    parallel: int,
    as_json: bool,
) -> None:
    """Move these tenants of the cluster, but for the operators' own, and tell what became of them;
    exit with 1 when some are left."""
    records = [record for record in records if not record["system"]]
    with click.progressbar(length=len(records), label="Moving", file=sys.stderr) as bar:
        outcomes: list[MoveOutcome] = []
        for outcome in platform.moves.move_all(
            records, Actor.on_command_line(), to=to, parallel=parallel
        ):
            outcomes.append(outcome)
            bar.update(1)
    moved = [one.moved for one in outcomes if one.moved]
    failed = [one for one in outcomes if one.error]
    if as_json:
        failures = [
            {"tenantId": str(one.tenant_id), "name": one.name, "error": one.error} for one in failed
        ]
        done = [told(one) for one in moved]
        click.echo(json.dumps({"cluster": cluster, "moved": done, "failed": failures}))
    else:
        longest = max((one.pause_seconds for one in moved), default=0.0)
        click.echo(
            f"Moved {len(moved)} of {len(records)} tenants from {cluster}; the longest could only"
            f" be read for {longest * 1000:.0f} ms"
        )
    for one in failed:
        click.echo(f"{one.name} ({one.tenant_id}): {one.error}", err=True)
    for late in (one for one in moved if one.late):
        click.echo(f"{late.name}: {late.late} documents were written after the move", err=True)
    if failed or any(one.late for one in moved):
        sys.exit(1)
    click.echo(
        "The databases there are kept until `multitenant move … --confirm`, or `multitenant tenants"
        f" gc` drops them; then `multitenant clusters close {cluster}`",
        err=True,
    )
