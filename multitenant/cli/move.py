"""`multitenant move`."""

import json
import sys
from contextlib import ExitStack
from typing import Any

import click

from multitenant.cli.byte_bar import byte_bar
from multitenant.cli.kept_databases import drop_kept_databases
from multitenant.cli.options import ask, json_option, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.extensions import Platform
from multitenant.repositories.model import MongoDocument
from multitenant.repositories.usage import database_size
from multitenant.services.admin.tenants import get_named_tenant
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.platform_access import tenant_database
from multitenant.tenancy.operations.moving import Moved


@click.command()
@click.argument("tenant")
@click.option("--to", metavar="CLUSTER", help="The cluster to move it to.")
@click.option("--back", is_flag=True, help="Move it to the cluster that it was last moved from.")
@click.option("--confirm", is_flag=True, help="Drop the databases that it had before.")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Compare all documents before the tenant is switched.",
)
@yes_option
@json_option
def move(
    tenant: str,
    to: str | None,
    back: bool,
    confirm: bool,
    verify: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Move TENANT (an id, subdomain or name) to another cluster while it works.

    Its database is copied, and what is written meanwhile as well. For a moment at the end the
    tenant can only be read: other requests answer 503 with Retry-After. Nothing is lost, and until
    the end nothing has happened: killed at any point, it can be run again. The database that the
    tenant had is kept: --confirm drops it, as `tenants gc` does after PURGE_AFTER_DAYS. --back is
    another move, to the cluster where the tenant was, with all that was written since.

    \b
    Examples:
      multitenant move acme --to blue
      multitenant move acme --confirm
      multitenant move acme --back
    """  # noqa: D301  # click wants a real backspace here
    if sum((to is not None, back, confirm)) != 1:
        raise click.UsageError("Say one of --to, --back, --confirm")
    with running_database() as settings, opened_platform(settings) as platform:
        record = get_named_tenant(platform.connections.admin_db, tenant)
        if confirm:
            action = "tenant.confirm_move"
            drop_kept_databases(platform, record, action=action, yes=yes, as_json=as_json)
            return
        target = platform.moves.cluster_before(record["_id"]) if back else to
        ask(f"Move {record['name']} from {record['cluster']} to {target}?", yes=yes)
        moved = _move(platform, record, target, verify=verify)
    if as_json:
        click.echo(json.dumps(told(moved)))
    else:
        _print(moved)
    if moved.late:
        sys.exit(1)


def told(moved: Moved) -> dict[str, Any]:
    """What JSON says of a move."""
    return {
        "tenantId": str(moved.tenant_id),
        "name": moved.name,
        "fromCluster": moved.from_cluster,
        "toCluster": moved.to_cluster,
        "dbName": moved.db_name,
        "keptDbName": moved.kept_db_name,
        "documents": moved.documents,
        "bytes": moved.bytes,
        "documentsFollowed": moved.followed,
        "documentsVerified": moved.verified,
        "seconds": round(moved.seconds, 3),
        "pauseMs": round(moved.pause_seconds * 1000),
        "lateDocuments": moved.late,
    }


def _move(platform: Platform, record: MongoDocument, to: str | None, *, verify: bool) -> Moved:
    size = 0
    if not record["system"]:
        with tenant_database(platform.connections, platform.cipher, record) as db:
            size = int(database_size(db)["bytes"])
    with ExitStack() as shown:
        progress = shown.enter_context(byte_bar("Copying", size))

        def tell(step: str) -> None:
            shown.close()
            click.echo(step, err=True)

        return platform.moves.move(
            record["_id"],
            Actor.on_command_line(),
            to=to,
            verify=verify,
            progress=progress,
            tell=tell,
            seen=record,
        )


def _print(moved: Moved) -> None:
    verified = f", {moved.verified} compared" if moved.verified is not None else ""
    click.echo(
        f"{moved.name} is on {moved.to_cluster} now: {moved.documents} documents,"
        f" {moved.bytes / 1e6:.1f} MB{verified}, in {moved.seconds:.1f} s; for"
        f" {moved.pause_seconds * 1000:.0f} ms it could only be read"
    )
    click.echo(
        f"The database before, {moved.kept_db_name} on {moved.from_cluster}, is kept: see --confirm"
    )
    if moved.late:
        click.echo(
            f"{moved.late} documents were written to it after the move, by a process that had hung:"
            " compare them with those of the tenant",
            err=True,
        )
