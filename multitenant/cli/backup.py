"""`multitenant backup`."""

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

from multitenant.cli.named_tenants import named_tenants
from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.model import MongoDocument
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.backup import BackedUp, Backup


@click.command()
@click.option(
    "--tenant",
    "named",
    multiple=True,
    metavar="TENANT",
    help="This tenant: its id, subdomain or name. May be given several times.",
)
@click.option("--all", "everybody", is_flag=True, help="All tenants, deleted ones included.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    metavar="DIR",
    help="Where to; each tenant gets a directory in it that is called by its id.",
)
@click.option("--gzip", "gzipped", is_flag=True, help="Compress the files.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="How many tenants to read at a time.",
)
@json_option
def backup(
    named: tuple[str, ...],
    everybody: bool,
    output: Path,
    gzipped: bool,
    parallel: int,
    as_json: bool,
) -> None:
    """Back tenants up, each as it is at one moment, while they work.

    The files are mongodump's, so mongorestore can read them, too, and a manifest.json with counts
    and checksums. They hold password hashes and all of the tenant's data: nobody else may read
    them. A tenant that fails does not end the others; then the command exits with 1, as it does
    where the data is such that `multitenant restore` would refuse the backup, which is made.

    \b
    Examples:
      multitenant backup --all --gzip --output /backups/$(date +%F)
      multitenant backup --tenant acme --output /backups/acme-before-import
    """  # noqa: D301  # click wants a real backspace here
    if bool(named) == everybody:
        raise click.UsageError("Say which tenants: --tenant (as often as you like), or --all")
    with running_database() as settings, opened_platform(settings) as platform:
        connections = platform.connections
        records = named_tenants(connections.admin_db, named)
        work = Backup(connections, platform.cipher, output, gzipped=gzipped, parallel=parallel)
        done = _follow(work, records)
        failed = [one for one in done if one.error]
        Actor.on_command_line().record(
            connections.admin_db,
            "tenants.backup",
            records[0]["_id"] if len(records) == 1 else None,
            outcome="failure" if failed else "success",
            backedUp=len(done) - len(failed),
            failed=len(failed),
        )
    _report(done, as_json=as_json)
    if failed or any(one.warning for one in done):
        sys.exit(1)


def _follow(work: Backup, records: Sequence[MongoDocument]) -> list[BackedUp]:
    """Do it with a progress bar: tenants, and megabytes."""
    done: list[BackedUp] = []
    written = 0
    lock = threading.Lock()

    def megabytes(_: object) -> str:
        return f"{written / 1e6:.1f} MB"

    with click.progressbar(
        length=len(records),
        label="Backing up",
        file=sys.stderr,
        show_pos=True,
        item_show_func=megabytes,
    ) as bar:

        def progress(size: int) -> None:
            nonlocal written
            with lock:
                written += size
                bar.current_item = written
                bar.render_progress()

        for one in work.run(records, progress):
            done.append(one)
            with lock:
                bar.update(1, written)
    return done


def _report(done: Sequence[BackedUp], *, as_json: bool) -> None:
    told: list[dict[str, object]] = []
    for one in done:
        manifest = one.manifest
        if manifest is None:
            click.echo(f"{one.name}: {one.error}", err=True)
            told.append({"tenantId": str(one.tenant_id), "name": one.name, "error": one.error})
            continue
        at = manifest.snapshot.at
        told.append(
            {
                "tenantId": str(one.tenant_id),
                "name": one.name,
                "directory": str(one.directory),
                "snapshotAt": at.isoformat(),
                "documents": manifest.documents,
                "bytes": manifest.bytes,
                "warning": one.warning,
            }
        )
        if one.warning:
            click.echo(f"{one.name}: `multitenant restore` refuses this: {one.warning}", err=True)
        if not as_json:
            what = f"{manifest.documents} documents, {manifest.bytes / 1e6:.1f} MB"
            click.echo(f"{one.name}: {what}, as of {at:%Y-%m-%d %H:%M:%S} UTC, in {one.directory}")
    if as_json:
        click.echo(json.dumps(told))
