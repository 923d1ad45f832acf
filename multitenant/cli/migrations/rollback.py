"""`multitenant migrations rollback`."""

import click

from multitenant.cli.migrations.shared import (
    find_tenants,
    follow,
    maintenance_option,
    open_fleet,
    parallel_option,
    report,
    tenant_option,
)
from multitenant.cli.options import json_option, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.migrations import (
    TENANT_VERSION,
)


@click.command()
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
        with open_fleet(platform, parallel, maintenance=maintenance) as fleet:
            # A run that was killed has recorded what it was going to do.
            records = find_tenants(platform, named)
            follow("Verifying", len(records), fleet.verify(records))
            newer = [one for one in find_tenants(platform, named) if one["schemaVersion"] > version]
            if newer and not yes:
                click.confirm(
                    f"Take {len(newer)} tenants back to version {version}? What newer migrations"
                    " made is removed, with all data in it.",
                    abort=True,
                    err=True,
                )
            seen = {one["_id"]: one["schemaVersion"] for one in newer}
            rolled_back = fleet.roll_back(newer, version, seen=seen)
            done = follow("Rolling back", len(newer), rolled_back)
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
    report([], failed, undone, left=0, as_json=as_json)
