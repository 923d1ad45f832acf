"""`multitenant migrations`."""

import json
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click

from multitenant import migrations as package
from multitenant.cli.named_tenants import named_tenants
from multitenant.cli.options import json_option, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.errors import ConfigurationError
from multitenant.extensions import Platform
from multitenant.repositories.admin.tenants import find_tenants_for_migration, list_schema_versions
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.maintenance import maintenance as keep_in_maintenance
from multitenant.tenancy.migrations import (
    ADMIN_MIGRATIONS,
    TENANT_VERSION,
    migrate,
    pending_migrations,
)
from multitenant.tenancy.operations.fleet import Fleet, Migrated

SAMPLE = 10
SHOWN = 20
TEMPLATE = '''\
"""{title}."""

from multitenant.repositories.model import MongoDatabase


def up(db: MongoDatabase) -> None:
    """Say what it does; may run again."""


def down(db: MongoDatabase) -> None:
    """Undo it; may run again."""
'''

tenant_option = click.option(
    "--tenant",
    "named",
    multiple=True,
    metavar="TENANT",
    help="Only this tenant: its id, subdomain or name. May be given several times.",
)
parallel_option = click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="How many databases to work on at a time.",
)
maintenance_option = click.option(
    "--maintenance",
    is_flag=True,
    help="Refuse each tenant's requests (503, with Retry-After) during its own turn.",
)


@click.group()
def migrations() -> None:
    """Migrate the admin database and the databases of all tenants.

    \b
    Examples:
      multitenant migrations status
      multitenant migrations run --canary 5
    """  # noqa: D301  # click wants a real backspace here


@migrations.command()
@tenant_option
@parallel_option
@json_option
@click.option("--indexes", is_flag=True, help="Compare all indexes with those that are declared.")
@click.option("--repair", is_flag=True, help="And mend them; indexes of somebody else's stay.")
def status(
    named: tuple[str, ...], parallel: int, as_json: bool, indexes: bool, repair: bool
) -> None:
    """Show how many tenants are at which version, as their records say.

    Exits with 1 when there is something to do.

    \b
    Examples:
      multitenant migrations status --json
      multitenant migrations status --indexes --repair
    """  # noqa: D301  # click wants a real backspace here
    if indexes or repair:
        _compare_indexes(named, parallel, as_json=as_json, repair=repair)
        return
    with running_database() as settings, opened_platform(settings) as platform:
        admin_db = platform.connections.admin_db
        versions = list_schema_versions(admin_db)
        pending = [migration.name for migration in pending_migrations(admin_db, ADMIN_MIGRATIONS)]
    if as_json:
        found = {"latest": TENANT_VERSION, "tenants": versions, "adminPending": pending}
        click.echo(json.dumps(found))
    else:
        click.echo(
            f"admin database: {', '.join(pending) + ' pending' if pending else 'up to date'}"
        )
        for version, tenants in versions.items():
            what = "the newest" if version == TENANT_VERSION else f"newest is {TENANT_VERSION}"
            click.echo(f"version {version} ({what}): {tenants} tenants")
    if pending or set(versions) - {TENANT_VERSION}:
        sys.exit(1)


@migrations.command()
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
@click.option("--verify", is_flag=True, help="Look into every database, not only at the records.")
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

    With --maintenance a tenant's turn begins when every process refuses it and what was under way
    has ended: TENANT_STALE_SECONDS and OPERATION_TIMEOUT_MS later. It ends with the turn or, where
    this is killed, by itself within a minute.

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
        with _fleet(platform, parallel, maintenance=maintenance) as fleet:
            _verify(fleet, _tenants(platform, named), everything=verify)
            records = _tenants(platform, named, other_than=TENANT_VERSION)
            ahead = [
                record["name"] for record in records if record["schemaVersion"] > TENANT_VERSION
            ]
            if ahead:
                raise ConfigurationError(
                    f"These tenants are newer than this release: {_some(ahead)}. Run the release"
                    " that migrated them, or take them back with it: `migrations rollback`."
                )
            if dry_run or not records:
                names = [record["name"] for record in records]
                told = f"{len(names)} tenants to migrate{': ' + _some(names) if names else ''}"
                click.echo(json.dumps({"toMigrate": names}) if as_json else told)
                return
            done, undone = _run(fleet, records, canary, on_failure)
        failed = [one for one in [*done, *undone] if one.error]
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
    _report(migrated, failed, undone, left=len(records) - len(done), as_json=as_json)


@migrations.command()
@tenant_option
@parallel_option
@json_option
@maintenance_option
@click.option(
    "--to",
    "version",
    type=click.IntRange(min=1, max=TENANT_VERSION),
    required=True,
    help="The version to go back to.",
)
@yes_option
def rollback(
    named: tuple[str, ...],
    parallel: int,
    as_json: bool,
    maintenance: bool,
    version: int,
    yes: bool,
) -> None:
    """Take tenants back to version N, with whatever their migrations' `down` removes.

    With --maintenance, as `multitenant migrations run` does it.

    \b
    Example:
      multitenant migrations rollback --to 4 --tenant acme
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        newer = [one for one in _tenants(platform, named) if one["schemaVersion"] > version]
        if newer and not yes:
            click.confirm(
                f"Take {len(newer)} tenants back to version {version}? What newer migrations made"
                " is removed, with all data in it.",
                abort=True,
                err=True,
            )
        with _fleet(platform, parallel, maintenance=maintenance) as fleet:
            done = _follow("Rolling back", len(newer), fleet.roll_back(newer, version))
        failed = [one for one in done if one.error]
        Actor.on_command_line().record(
            platform.connections.admin_db,
            "migrations.rollback",
            None,
            outcome="failure" if failed else "success",
            version=version,
            rolledBack=len(done) - len(failed),
            failed=len(failed),
        )
    undone = [one for one in done if not one.error]
    _report([], failed, undone, left=0, as_json=as_json)


@migrations.command()
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


def _fleet(platform: Platform, parallel: int, *, maintenance: bool) -> Fleet:
    operation_seconds = platform.settings.operation_timeout_ms / 1000
    maintain = partial(
        keep_in_maintenance,
        platform.connections,
        settle_seconds=platform.settings.tenant_stale_seconds + operation_seconds,
        transaction_seconds=operation_seconds,
    )
    return Fleet(
        platform.connections,
        platform.cipher,
        parallel=parallel,
        maintain=maintain if maintenance else None,
    )


def _compare_indexes(named: Sequence[str], parallel: int, *, as_json: bool, repair: bool) -> None:
    with running_database() as settings, opened_platform(settings) as platform:
        records = _tenants(platform, named)
        with Fleet(platform.connections, platform.cipher, parallel=parallel) as fleet:
            compared = fleet.compare_indexes(records, repair=repair)
            done = _follow("Comparing indexes", len(records), compared)
    wrong = [one for one in done if one.drift or one.error]
    if as_json:
        told = [
            {
                "name": one.name,
                "error": one.error,
                "indexes": [asdict(drift) for drift in one.drift],
            }
            for one in wrong
        ]
        click.echo(json.dumps({"repaired": repair, "tenants": told}))
    else:
        for one in wrong:
            about = [f"{drift.collection}.{drift.index} {drift.kind}" for drift in one.drift]
            click.echo(f"{one.name}: {one.error or ', '.join(about)}")
        click.echo(f"{len(done)} tenants compared, {len(wrong)} with other indexes than declared")
    left = [one for one in wrong if one.error or not repair]
    if left:
        sys.exit(1)


def _tenants(
    platform: Platform, named: Sequence[str], *, other_than: int | None = None
) -> list[MongoDocument]:
    admin_db = platform.connections.admin_db
    if other_than is None:
        return named_tenants(admin_db, named)
    return find_tenants_for_migration(admin_db, named=named, other_than=other_than)


def _verify(fleet: Fleet, records: Sequence[MongoDocument], *, everything: bool) -> None:
    """Look into the databases that are recorded as done: all, or some, and all if one of those
    is not."""
    done = [record for record in records if record["schemaVersion"] == TENANT_VERSION]
    if not everything and len(done) > SAMPLE:
        some = random.sample(done, SAMPLE)
        if all(one.after == TENANT_VERSION for one in fleet.verify(some) if not one.error):
            return
        click.echo("Records are wrong: looking into every database", err=True)
    for one in _follow("Verifying", len(done), fleet.verify(done)):
        if one.error:
            click.echo(f"{one.name}: not verified: {one.error}", err=True)


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
            _follow(label, len(batch), fleet.migrate(batch, go_on), done.append)
    if go_on() or on_failure != "rollback":
        return done, []
    undoing = sum(one.touched for one in done)
    return done, _follow("Rolling back", undoing, fleet.undo(done, records))


def _follow(
    label: str,
    length: int,
    results: Iterable[Migrated],
    tell: Callable[[Migrated], Any] = lambda _: None,
) -> list[Migrated]:
    """Go through the results with a progress bar, and return them."""
    found: list[Migrated] = []
    started = time.monotonic()

    def rate(_: object) -> str:
        return f"{len(found) / max(time.monotonic() - started, 0.001):.1f}/s"

    with click.progressbar(
        length=length, label=label, file=sys.stderr, show_pos=True, item_show_func=rate
    ) as bar:
        for one in results:
            tell(one)
            found.append(one)
            bar.update(1, one)
    return found


def _report(
    migrated: Sequence[Migrated],
    failed: Sequence[Migrated],
    undone: Sequence[Migrated],
    *,
    left: int,
    as_json: bool,
) -> None:
    """Print the summary, and exit with 1 when something failed."""
    if as_json:
        summary = {
            "migrated": [one.name for one in migrated],
            "failed": [{"name": one.name, "error": one.error} for one in failed],
            "rolledBack": [one.name for one in undone if not one.error],
            "left": left,
        }
        click.echo(json.dumps(summary))
    else:
        counts = {"migrated": migrated, "rolled back": undone, "failed": failed}
        told = ", ".join(f"{len(some)} {what}" for what, some in counts.items() if some)
        click.echo(f"{told or 'nothing to do'}{f', {left} not begun' if left else ''}")
        for one in failed:
            click.echo(f"  {one.name}: {one.error}")
    if failed:
        sys.exit(1)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
