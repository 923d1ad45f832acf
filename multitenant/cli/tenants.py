"""`multitenant tenants`."""

from datetime import timedelta

import click

from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.orphans import MIN_AGE, drop_prepared, find_orphans
from multitenant.tenancy.placement import DEFAULT_CLUSTER


@click.group()
def tenants() -> None:
    """Operate on tenants."""


@tenants.command()
@click.option(
    "--older-than",
    type=click.IntRange(min=int(MIN_AGE.total_seconds() // 60)),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Leave younger ones alone: they may be tenants in the making.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be dropped.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def gc(older_than: int, dry_run: bool, yes: bool) -> None:
    """Drop databases that were prepared for tenants that never came to be.

    Such a database is left when a process is killed while it makes a tenant. Only databases that
    this platform has marked as its own, and that belong to no tenant, are touched.
    """
    with running_database() as settings, opened_platform(settings) as platform:
        admin_db = platform.connections.admin_db
        client = platform.connections.cluster_client(DEFAULT_CLUSTER)
        orphans = find_orphans(
            client,
            admin_db,
            db_prefix=settings.tenant_db_prefix,
            older_than=timedelta(minutes=older_than),
        )
        for name, started_at in orphans:
            click.echo(f"{name}  prepared {started_at:%Y-%m-%d %H:%M:%S} UTC")
        if not orphans or dry_run:
            click.echo(f"{len(orphans)} left-over databases", err=True)
            return
        if not yes:
            click.confirm(f"Drop these {len(orphans)} databases?", abort=True, err=True)
        dropped = [name for name, _ in orphans if drop_prepared(client[name], admin_db.name)]
        click.echo(f"Dropped {len(dropped)} databases", err=True)
