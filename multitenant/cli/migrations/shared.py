"""What several of the `multitenant migrations` commands need."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import click

from multitenant.cli.named_tenants import named_tenants
from multitenant.extensions import Platform
from multitenant.repositories.admin.tenants import find_tenants_for_migration
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.lifecycle.maintenance import maintenance as keep_in_maintenance
from multitenant.tenancy.operations.fleet import Fleet, Migrated

SHOWN = 20


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


def open_fleet(platform: Platform, parallel: int, *, maintenance: bool) -> Fleet:
    """Return what works on so many databases at a time, each in maintenance if asked to."""
    operation_seconds = platform.settings.operation_timeout_ms / 1000
    maintain = partial(
        keep_in_maintenance,
        platform.connections,
        transaction_seconds=operation_seconds,
    )
    return Fleet(
        platform.connections,
        platform.cipher,
        parallel=parallel,
        maintain=maintain if maintenance else None,
    )


def find_tenants(
    platform: Platform, named: Sequence[str], *, other_than: int | None = None
) -> list[MongoDocument]:
    """Return the records of all tenants, or of those that are named; `other_than` leaves out those
    of that version."""
    admin_db = platform.connections.admin_db
    if other_than is None:
        return named_tenants(admin_db, named)
    return find_tenants_for_migration(admin_db, named=named, other_than=other_than)


def follow(
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


def report(
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


def some(names: Sequence[str]) -> str:
    """Return the first of the names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
