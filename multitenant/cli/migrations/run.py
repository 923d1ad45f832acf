"""`multitenant migrations run`."""

import json
import random
import sys
from collections.abc import Sequence
from typing import Any

import click

from multitenant.cli.migrations.shared import (
    find_tenants,
    follow,
    maintenance_option,
    open_fleet,
    parallel_option,
    report,
    some,
    tenant_option,
)
from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.errors import ConfigurationError
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.migrations import (
    ADMIN_MIGRATIONS,
    TENANT_VERSION,
    migrate,
)
from multitenant.tenancy.operations.fleet import Fleet, Migrated

SAMPLE = 10


@click.command()
@tenant_option
@parallel_option
@json_option
@click.option("--canary", type=click.IntRange(min=1), metavar="N", help="First only N tenants.")
@click.option(
    "--on-failure",
    type=click.Choice(["rollback", "stop", "continue"]),
    default="rollback",
    show_default=True,
    help="When a tenant fails: take those of this run back, so that all stay on one version;"
    " leave them and begin no more; or go on with the others.",
)
@click.option(
    "--verify",
    is_flag=True,
    help="Look into every database, not only at the records; fail where that cannot be done.",
)
@maintenance_option
@click.option("--dry-run", is_flag=True, help="Only list what would be done.")
def run(
    named: tuple[str, ...],
    parallel: int,
    as_json: bool,
    canary: int | None,
    on_failure: str,
    verify: bool,
    maintenance: bool,
    dry_run: bool,
) -> None:
    """Bring the admin database and all tenants to the newest version.

    The tenants work on meanwhile. Where nothing is to be done, that takes no longer than counting
    them, and looking into a few. If it is stopped, or killed, run it again: it goes on with what is
    left. Two runs at once do not disturb each other.

    With --maintenance a tenant's turn begins when every process has acknowledged that it refuses
    the tenant, and that what was under way has ended. It ends with the turn or, where this is
    killed, by itself within a minute; a migration during which it was over is not recorded, and
    runs again.

    \b
    Examples:
      multitenant migrations run --canary 5
      multitenant migrations run --maintenance --parallel 16
      multitenant migrations run --tenant acme --tenant globex
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        admin_db = platform.connections.admin_db
        if not dry_run:
            migrate(admin_db, ADMIN_MIGRATIONS)
        with open_fleet(platform, parallel, maintenance=maintenance) as fleet:
            unverified = _verify(fleet, find_tenants(platform, named), everything=verify)
            records = find_tenants(platform, named, other_than=TENANT_VERSION)
            ahead = [
                record["name"] for record in records if record["schemaVersion"] > TENANT_VERSION
            ]
            if ahead:
                raise ConfigurationError(
                    f"These tenants are newer than this release: {some(ahead)}. Run the release"
                    " that migrated them, or take them back with it: `migrations rollback`."
                )
            if dry_run or not records:
                names = [record["name"] for record in records]
                told = f"{len(names)} tenants to migrate{': ' + some(names) if names else ''}"
                click.echo(json.dumps({"toMigrate": names}) if as_json else told)
                if unverified:
                    sys.exit(1)
                return
            done, undone = _run(fleet, records, canary, on_failure)
        failed = [one for one in [*unverified, *done, *undone] if one.error]
        migrated = [one for one in done if not one.error]
        special: dict[str, Any] = {"maintenance": True} if maintenance else {}
        Actor.on_command_line().record(
            admin_db,
            "migrations.run",
            None,
            outcome="failure" if failed else "success",
            version=TENANT_VERSION,
            migrated=len(migrated),
            failed=len(failed),
            rolledBack=len(undone),
            **special,
        )
    report(migrated, failed, undone, left=len(records) - len(done), as_json=as_json)


def _verify(
    fleet: Fleet, records: Sequence[MongoDocument], *, everything: bool
) -> Sequence[Migrated]:
    """Look into the databases that are recorded as done: all, or some, and all if one of those
    is not; and into all that are recorded as newer. Return those that could not be looked into,
    where all were to be."""
    done = [record for record in records if record["schemaVersion"] == TENANT_VERSION]
    ahead = [record for record in records if record["schemaVersion"] > TENANT_VERSION]
    for _ in fleet.verify(ahead):
        pass  # what their records say is set right
    if not everything and len(done) > SAMPLE:
        some = random.sample(done, SAMPLE)
        if all(one.after == TENANT_VERSION for one in fleet.verify(some) if not one.error):
            return []
        click.echo("Records are wrong: looking into every database", err=True)
    unverified = [one for one in follow("Verifying", len(done), fleet.verify(done)) if one.error]
    for one in unverified:
        click.echo(f"{one.name}: not verified: {one.error}", err=True)
    return unverified if everything else []


def _run(
    fleet: Fleet, records: Sequence[MongoDocument], canary: int | None, on_failure: str
) -> tuple[list[Migrated], list[Migrated]]:
    """Return what became of those that were begun, and of those that were taken back."""
    done: list[Migrated] = []

    def go_on() -> bool:
        return on_failure == "continue" or not any(one.error for one in done)

    first = records[:canary] if canary else []
    for label, batch in (("Canaries", first), ("Migrating", records[len(first) :])):
        if batch and go_on():
            follow(label, len(batch), fleet.migrate(batch, go_on), done.append)
    if go_on() or on_failure != "rollback":
        return done, []
    undoing = sum(one.touched for one in done)
    return done, follow("Rolling back", undoing, fleet.undo(done, records))
