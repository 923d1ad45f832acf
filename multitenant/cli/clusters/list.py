"""`multitenant clusters list`."""

import json
import sys
from typing import Any

import click

from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.model import utc_now
from multitenant.tenancy.operations.cluster_report import ClusterStatus, forecast


@click.command("list")
@json_option
def list_clusters(as_json: bool) -> None:
    """Show how full each cluster is, and when it will be full.

    Up to 50 tenants of each are measured; the forecast goes by the tenants that were added in the
    last 30 days. Exits with 1 when a cluster could not be measured.

    \b
    Examples:
      multitenant clusters list
      multitenant clusters list --json
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        report = platform.cluster_report
        with click.progressbar(
            report.statuses(), length=report.count(), label="Measuring", file=sys.stderr
        ) as steps:
            statuses = list(steps)
    if as_json:
        click.echo(json.dumps(_told(statuses), default=str))
    else:
        for status in statuses:
            _print(status)
        _print_all(statuses)
    if any(status.error for status in statuses):
        sys.exit(1)


def _told(statuses: list[ClusterStatus]) -> dict[str, Any]:
    now = utc_now()
    return {
        "clusters": [
            {
                "name": status.record["_id"],
                "state": status.record["state"],
                "tenants": status.tenants,
                "places": status.places,
                "tenantsPerDay": round(status.per_day, 2),
                "resources": {
                    one.resource: {
                        "used": round(one.used),
                        "perTenant": round(one.per_tenant, 2),
                        "capacity": one.limit,
                        "freeShare": round(one.free_share, 4),
                    }
                    for one in status.resources
                },
                "dataBytes": status.data_bytes,
                "limiting": status.limiting.resource,
                "freeTenants": status.free_tenants,
                "fullOn": _iso(status.full_on(now)),
                "measuredAt": _iso(status.measured.get("at")),
                "measuredTenants": status.measured.get("tenants", 0),
                "error": status.error,
            }
            for status in statuses
        ],
        "allFullOn": _iso(_all_full_on(statuses)),
    }


def _print(status: ClusterStatus) -> None:
    name, state = status.record["_id"], status.record["state"]
    click.echo(f"{name}  {state}  {status.tenants} tenants, {_size(status.data_bytes)} of data")
    for one in status.resources:
        in_bytes = one.resource == "diskBytes"
        used, each = _amount(one.used, in_bytes), _amount(one.per_tenant, in_bytes)
        limit = f"of {_amount(one.limit, in_bytes)}" if one.limit else "no limit"
        click.echo(f"  {one.resource:12}{used:>12}  {limit:16}{each} each")
    full_on = status.full_on(utc_now())
    if state != "open":
        pass  # nobody is placed there
    elif status.free_tenants == 0:
        click.echo(f"  full: no more {status.limiting.resource}")
    elif full_on:
        click.echo(
            f"  full on {full_on:%Y-%m-%d}, by {status.limiting.resource}: room for"
            f" {status.free_tenants} more tenants, {status.per_day:.1f} a day"
        )
    elif status.free_tenants is not None:
        click.echo(f"  room for {status.free_tenants} more tenants, for ten years or more")
    if status.error:
        click.echo(f"  does not answer ({status.error}); shown is what was measured last")


def _print_all(statuses: list[ClusterStatus]) -> None:
    if full_on := _all_full_on(statuses):
        click.echo(f"All open clusters will be full on {full_on:%Y-%m-%d}: add one before")


def _all_full_on(statuses: list[ClusterStatus]) -> Any:
    """When there will be no room on any open cluster, with the tenants of all days."""
    free = [status.free_tenants for status in statuses if status.record["state"] == "open"]
    known = [one for one in free if one is not None]
    if len(known) < len(free):
        return None
    return forecast(sum(known), sum(status.per_day for status in statuses), utc_now())


def _iso(moment: Any) -> str | None:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None


def _amount(value: float, in_bytes: bool) -> str:
    return _size(value) if in_bytes else f"{value:,.1f}".removesuffix(".0")


def _size(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
