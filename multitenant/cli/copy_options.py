"""What commands share that make a tenant of another one's data."""

import json
from collections.abc import Callable
from typing import IO, Any, TypeVar

import click
from pydantic import ValidationError

from multitenant.errors import ConfigurationError
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.operations.tenant_copies import CopiedTenant

F = TypeVar("F", bound=Callable[..., Any])

subdomain_option = click.option("--subdomain", help="Of the new tenant.")
isolation_option = click.option(
    "--isolation",
    type=click.Choice(["shared", "dedicated"]),
    help="Of the new tenant; without it, as it was.",
)
uri_option = click.option(
    "--db-uri-file",
    type=click.File(),
    metavar="FILE",
    help="A file (- for standard input) with the URI of an empty database on a server of the"
    " tenant's own; a URI on the command line could be read by others.",
)
cluster_option = click.option(
    "--cluster",
    metavar="CLUSTER",
    help="Where the new tenant lives; without it, where most is free.",
)


def read_uri(file: IO[str] | None) -> str | None:
    """Return the URI in the file, if there is one."""
    return file.read().strip() if file else None


def new_tenant(**fields: Any) -> TenantCopy:
    """Return what is to be made; a field that is None was not given. Raises ConfigurationError."""
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return TenantCopy.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConfigurationError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def report_copy(made: CopiedTenant, *, as_json: bool) -> None:
    """Tell of the new tenant."""
    copied = made.copied
    if as_json:
        told = {
            "tenantId": str(made.tenant_id),
            "name": made.name,
            "dbName": made.db_name,
            "users": made.users,
            "documents": copied.documents,
            "bytes": copied.bytes,
        }
        click.echo(json.dumps(told))
        return
    click.echo(
        f"Made the tenant {made.name} ({made.tenant_id}): {copied.documents} documents,"
        f" {copied.bytes / 1e6:.1f} MB, {made.users} users, who log in as before"
    )
