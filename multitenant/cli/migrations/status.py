"""`multitenant migrations status`."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict

import click

from multitenant.cli.migrations.shared import (
    find_tenants,
    follow,
    parallel_option,
    tenant_option,
)
from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.admin.tenants import list_schema_versions
from multitenant.tenancy.migrations import (
    ADMIN_MIGRATIONS,
    TENANT_VERSION,
    pending_migrations,
)
from multitenant.tenancy.operations.fleet import Fleet


@click.command()
@tenant_option
@parallel_option
@json_option
@click.option("--indexes", is_flag=True, help="Compare all indexes with those that are declared.")
@click.option("--repair", is_flag=True, help="And fix them; indexes of somebody else's stay.")
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


def _compare_indexes(named: Sequence[str], parallel: int, *, as_json: bool, repair: bool) -> None:
    with running_database() as settings, opened_platform(settings) as platform:
        records = find_tenants(platform, named)
        with Fleet(platform.connections, platform.cipher, parallel=parallel) as fleet:
            compared = fleet.compare_indexes(records, repair=repair)
            done = follow("Comparing indexes", len(records), compared)
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
