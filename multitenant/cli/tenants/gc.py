"""`multitenant tenants gc`."""

import sys
from datetime import datetime, timedelta

import click

from multitenant.cli.options import yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.failures import contained
from multitenant.tenancy.lifecycle.garbage import Garbage, GarbageCollector
from multitenant.tenancy.lifecycle.orphans import MIN_AGE


@click.command()
@click.option(
    "--older-than",
    type=click.IntRange(int(MIN_AGE.total_seconds() // 60), 10 * 525_600),
    default=60,
    show_default=True,
    metavar="MINUTES",
    help="Leave younger databases alone: they may be tenants in the making.",
)
@click.option("--dry-run", is_flag=True, help="Only list what would be removed.")
@yes_option
def gc(older_than: int, dry_run: bool, yes: bool) -> None:
    """Remove what is left over, and tenants that were deleted long ago.

    These are databases that were prepared for tenants that never came to be, or that a purge did
    not get to drop (both are left by a process that was killed); tenants whose deletion is more
    than PURGE_AFTER_DAYS ago; databases that a restore has replaced as long ago; MongoDB users
    that a tenant has no more use for; databases that wait for tenants, where they are more than
    PROVISIONING_POOL_SIZE or of an earlier release; memberships without a user, of tenants that
    are not on the cluster `default`; and what is recorded as in maintenance and is not any more.
    Only what this platform has noted as its own is touched.

    \b
    Examples:
      multitenant tenants gc --dry-run
      multitenant tenants gc --yes
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        collector = GarbageCollector(
            platform.connections,
            platform.credentials,
            platform.lifecycle,
            platform.cipher,
            purge_after=timedelta(days=settings.purge_after_days),
            keep_prepared=settings.provisioning_pool_size,
        )
        found = list(
            collector.find(Actor.on_command_line(), older_than=timedelta(minutes=older_than))
        )
        for garbage in found:
            known = isinstance(garbage.since, datetime)  # rather than a date beyond year 9999
            since = f"  since {garbage.since:%Y-%m-%d %H:%M:%S} UTC" if known else ""
            click.echo(f"{garbage.kind}  {garbage.name}{since}")
        if not found or dry_run:
            click.echo(f"{len(found)} things to remove", err=True)
            return
        if not yes:
            click.confirm(f"Remove these {len(found)} things for good?", abort=True, err=True)
        with click.progressbar(found, label="Removing", file=sys.stderr) as steps:
            left = [garbage.name for garbage in steps if not _remove(garbage)]
        click.echo(f"Removed {len(found) - len(left)} things", err=True)
        if left:
            raise click.ClickException(f"These are left; run it again: {', '.join(left)}")


def _remove(garbage: Garbage) -> bool:
    """Remove one thing; what goes wrong with it must not keep the others."""
    removed = False
    with contained(f"{garbage.kind} {garbage.name} was not removed") as failure:
        removed = garbage.remove()
    if failure:
        click.echo(f"{garbage.name}: {failure.message}", err=True)
    return removed
