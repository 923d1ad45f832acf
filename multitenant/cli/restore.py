"""`multitenant restore`."""

import json
from pathlib import Path
from typing import IO

import click

from multitenant.cli.byte_bar import byte_bar
from multitenant.cli.copy_options import (
    cluster_option,
    isolation_option,
    new_tenant,
    read_uri,
    report_copy,
    subdomain_option,
    uri_option,
)
from multitenant.cli.kept_databases import drop_kept_databases
from multitenant.cli.options import ask, json_option, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.errors import ConfigurationError
from multitenant.extensions import Platform
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.services.admin.tenants import get_named_tenant
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.restoration import Restored
from multitenant.tenancy.operations.stored_backup import StoredBackup

SHOWN = 20


@click.command()
@click.argument(
    "directory", type=click.Path(exists=True, file_okay=False, path_type=Path), required=False
)
@click.option("--into-tenant", "into", metavar="TENANT", help="Take this tenant back to it.")
@click.option("--as-new", metavar="NAME", help="Make a new tenant of it.")
@click.option("--undo", metavar="TENANT", help="Take the last restore of this tenant back.")
@click.option("--confirm", metavar="TENANT", help="Drop what this tenant had before; no way back.")
@subdomain_option
@isolation_option
@cluster_option
@uri_option
@yes_option
@json_option
def restore(
    directory: Path | None,
    into: str | None,
    as_new: str | None,
    undo: str | None,
    confirm: str | None,
    subdomain: str | None,
    isolation: str | None,
    cluster: str | None,
    db_uri_file: IO[str] | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Restore one tenant from DIRECTORY, one that `multitenant backup` has made.

    Everything is checked first: a damaged backup changes nothing. A tenant that is taken back to
    its backup answers 503 meanwhile, all of its users log in again, and the database that it had
    is kept: --undo takes the tenant back there, and --confirm drops it, as `tenants gc` does
    after PURGE_AFTER_DAYS. --subdomain, --isolation and --cluster are for --as-new.

    \b
    Examples:
      multitenant restore /backups/2026-11-20/6b0147c1e83b5f0c6a4f2d11 --into-tenant acme
      multitenant restore /backups/2026-11-20/6b0147c1e83b5f0c6a4f2d11 --as-new "Acme yesterday"
      multitenant restore --undo acme
    """  # noqa: D301  # click wants a real backspace here
    asked = [wish for wish in (into, as_new, undo, confirm) if wish is not None]
    if len(asked) != 1:
        raise click.UsageError("Say one of --into-tenant, --as-new, --undo, --confirm")
    if (directory is None) == bool(into or as_new):
        raise click.UsageError("--into-tenant and --as-new take a DIRECTORY, the others do not")
    if (subdomain or isolation or cluster) and not as_new:
        raise click.UsageError("--subdomain, --isolation and --cluster are for --as-new")
    uri = read_uri(db_uri_file)
    new = None
    if as_new:
        new = new_tenant(
            name=as_new, subdomain=subdomain, isolation=isolation, cluster=cluster, dbUri=uri
        )
    with running_database() as settings, opened_platform(settings) as platform:
        if undo:
            _undo(platform, undo, yes=yes, as_json=as_json)
        elif confirm:
            record = get_named_tenant(platform.connections.admin_db, confirm)
            action = "tenant.confirm_restore"
            drop_kept_databases(platform, record, action=action, yes=yes, as_json=as_json)
        elif directory:
            backup = StoredBackup(directory)
            if into:
                _restore(platform, backup, into, uri, yes=yes, as_json=as_json)
            elif new:
                _restore_as_new(platform, backup, new, as_json=as_json)


def _restore(
    platform: Platform,
    backup: StoredBackup,
    into: str,
    uri: str | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    manifest = backup.manifest
    record = get_named_tenant(platform.connections.admin_db, into)
    if record["_id"] != manifest.tenant.id:
        raise ConfigurationError(
            f"This is a backup of the tenant {manifest.tenant.name} ({manifest.tenant.id}), and not"
            f" of {record['name']}: a tenant never gets another one's data. --as-new makes a new"
            " tenant of it."
        )
    _verify(backup)
    ask(
        f"Take {record['name']} back to {manifest.snapshot.at:%Y-%m-%d %H:%M:%S} UTC? What was"
        " written since will not be there, users and passwords included, and the tenant answers"
        " 503 meanwhile. Its present database is kept.",
        yes=yes,
    )
    with byte_bar("Restoring", manifest.bytes) as progress:
        actor = Actor.on_command_line()
        restored = platform.restoration.restore(backup, actor, progress, uri=uri, seen=record)
    _report(restored, as_json=as_json)


def _restore_as_new(
    platform: Platform, backup: StoredBackup, new: TenantCopy, *, as_json: bool
) -> None:
    _verify(backup)
    with byte_bar("Restoring", backup.manifest.bytes) as progress:
        made = platform.copies.restore(backup, new, Actor.on_command_line(), progress)
    report_copy(made, as_json=as_json)


def _undo(platform: Platform, name: str, *, yes: bool, as_json: bool) -> None:
    record = get_named_tenant(platform.connections.admin_db, name)
    ask(
        f"Take {record['name']} back to the database that it had before the last restore? The"
        " present one is kept instead.",
        yes=yes,
    )
    restored = platform.restoration.undo(record["_id"], Actor.on_command_line(), seen=record)
    _report(restored, as_json=as_json)


def _verify(backup: StoredBackup) -> None:
    with byte_bar("Verifying", backup.manifest.bytes) as progress:
        backup.verify(progress)


def _report(restored: Restored, *, as_json: bool) -> None:
    users = restored.users
    if as_json:
        told = {
            "tenantId": str(restored.tenant_id),
            "name": restored.name,
            "dbName": restored.db_name,
            "keptDbName": restored.kept_db_name,
            "documents": restored.copied.documents if restored.copied else None,
            "bytes": restored.copied.bytes if restored.copied else None,
            "usersBack": users.back,
            "usersGone": users.gone,
            "usersChanged": users.changed,
        }
        click.echo(json.dumps(told))
        return
    click.echo(f"{restored.name} has the database {restored.db_name} now, and works")
    click.echo(f"The one before, {restored.kept_db_name}, is kept: see --undo and --confirm")
    for what, emails in (
        ("Users who are back", users.back),
        ("Users who are gone", users.gone),
        ("Users whose password, role or status is another", users.changed),
    ):
        if emails:
            more = f" and {len(emails) - SHOWN} more" if len(emails) > SHOWN else ""
            click.echo(f"{what}: {', '.join(emails[:SHOWN])}{more}")
