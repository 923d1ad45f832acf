"""`multitenant tenants list`."""

from collections.abc import Iterator

import click
import orjson
from pydantic import ValidationError

from multitenant.cli.options import explain_invalid, json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.model import MongoDatabase, MongoDocument
from multitenant.schemas.admin.tenants import STATUSES, TenantAnswer, TenantQuery
from multitenant.services.admin.tenants import list_tenants as list_page

PAGE = 100
COLUMNS = ("id", "status", "isolation", "cluster", "schemaVersion")
HEADINGS = ("ID", "STATUS", "ISOLATION", "CLUSTER", "VERSION", "CREATED", "SUBDOMAIN", "NAME")
ROW = "{:<24}  {:<11}  {:<9}  {:<12}  {:>7}  {:<10}  {:<16}  {}"


@click.command("list")
@click.option("--status", type=click.Choice(STATUSES), help="Only those of that status.")
@click.option("--q", metavar="TEXT", help="Only those with it in their name or subdomain.")
@json_option
def list_tenants(status: str | None, q: str | None, as_json: bool) -> None:
    """List tenants, oldest first, all of them.

    \b
    Examples:
      multitenant tenants list --q acme
      multitenant tenants list --status deleted --json
    """  # noqa: D301  # click wants a real backspace here
    try:
        query = TenantQuery.model_validate({"status": status, "q": q, "limit": PAGE})
    except ValidationError as error:
        raise click.UsageError(explain_invalid(error)) from error
    with running_database() as settings, opened_platform(settings) as platform:
        tenants = _all(platform.connections.admin_db, query)
        if as_json:
            _print_json(tenants)
        else:
            _print_table(tenants)


def _all(admin_db: MongoDatabase, query: TenantQuery) -> Iterator[MongoDocument]:
    """Go through all pages."""
    while True:
        page = list_page(admin_db, query)
        yield from map(TenantAnswer.of, page.items)
        if page.next_cursor is None:
            return
        query = query.model_copy(update={"cursor": page.next_cursor})


def _print_json(tenants: Iterator[MongoDocument]) -> None:
    """One JSON array, one tenant a line, as they are read."""
    before = b"["
    for tenant in tenants:
        click.echo(before + b"\n" + orjson.dumps(tenant), nl=False)
        before = b","
    click.echo("[]" if before == b"[" else "\n]")


def _print_table(tenants: Iterator[MongoDocument]) -> None:
    count = 0
    for count, tenant in enumerate(tenants, 1):
        if count == 1:
            click.echo(ROW.format(*HEADINGS))
        row = ROW.format(
            *(_shown(tenant[name]) for name in COLUMNS),
            _shown(tenant["createdAt"])[:10],
            _shown(tenant["subdomain"]),
            _shown(tenant["name"]),
        )
        click.echo(row)
    click.echo(f"{count} tenants", err=True)


def _shown(value: object) -> str:
    """The value; a dash where there is none, or a damaged record has none of the right type."""
    return "-" if value is None else str(value)
