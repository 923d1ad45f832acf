"""`multitenant clusters`."""

import json
import os
import sys
from collections.abc import Callable
from typing import Any

import click

from multitenant.cli.drain_by_moving import move_away
from multitenant.cli.options import ask, json_option, yes_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.admin.tenants import find_tenants_on_cluster
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.cluster_capacity import RESOURCES
from multitenant.tenancy.operations.cluster_report import ClusterStatus, forecast

URI_VARIABLE = "CLUSTER_URI"
SHOWN = 20

uri_option = click.option(
    "--uri-stdin", is_flag=True, help="Read the URI from standard input, one line."
)


def capacity_options(least: int) -> Callable[[Any], Any]:
    """Options for the limits of a cluster."""

    def add(command: Any) -> Any:
        for name in reversed(RESOURCES):
            option = "--disk-bytes" if name == "diskBytes" else f"--{name}"
            command = click.option(
                option,
                name,
                type=click.IntRange(min=least),
                metavar="N",
                help=f"At most N {'bytes on disk' if name == 'diskBytes' else name}"
                f"{'; 0: no limit' if least == 0 else ''}.",
            )(command)
        return command

    return add


@click.group()
def clusters() -> None:
    """Operate on the MongoDB deployments that tenants live on.

    `default` is the admin database's own. Each other one is a replica set or sharded cluster; its
    URI is kept encrypted in the admin database, and every process learns of it without restart.

    \b
    Examples:
      multitenant clusters list
      multitenant clusters add blue --tenants 900
    """  # noqa: D301  # click wants a real backspace here


@clusters.command("list")
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


@clusters.command()
@click.argument("name")
@uri_option
@capacity_options(least=1)
def add(name: str, uri_stdin: bool, **capacity: int | None) -> None:
    """Add a MongoDB deployment under NAME; new tenants go there at once.

    Its URI is asked for, or comes from standard input or the variable CLUSTER_URI: never from an
    argument, which everybody on the machine could see. It is checked before anything is written:
    that it can be reached, is a replica set or sharded cluster, lets its user do what is needed,
    and is no cluster of this platform already.

    \b
    Examples:
      multitenant clusters add blue --tenants 900
      pass show mongodb/blue | multitenant clusters add blue --uri-stdin
    """  # noqa: D301  # click wants a real backspace here
    uri = _read_uri(stdin=uri_stdin)
    limits = {what: limit for what, limit in capacity.items() if limit is not None}
    with running_database() as settings, opened_platform(settings) as platform:
        found = platform.clusters.add(name, uri, limits, Actor.on_command_line())
    click.echo(f"Added {name}: {', '.join(found.identity.members)}", err=True)
    if not found.dedicated:
        click.echo(
            "Only shared tenants can live there: for dedicated ones its user needs the roles"
            " userAdminAnyDatabase and clusterMonitor as well",
            err=True,
        )


@clusters.command()
@click.argument("name")
@click.option("--uri", "new_uri", is_flag=True, help="Ask for another URI of the same deployment.")
@uri_option
@capacity_options(least=0)
def change(name: str, new_uri: bool, uri_stdin: bool, **capacity: int | None) -> None:
    """Change the limits or the URI of a cluster, while it works.

    Another URI (another password, other host names) must lead to the same deployment. Every process
    follows within a second, and no request fails. CLUSTER_URI gives it without a question.

    \b
    Examples:
      multitenant clusters change default --tenants 500
      multitenant clusters change blue --uri
    """  # noqa: D301  # click wants a real backspace here
    limits = {what: limit or None for what, limit in capacity.items() if limit is not None}
    wanted = new_uri or uri_stdin
    if not wanted and not limits:
        raise click.UsageError("Say what to change: --uri, or a limit")
    uri = _read_uri(stdin=uri_stdin) if wanted else None
    with running_database() as settings, opened_platform(settings) as platform:
        platform.clusters.change(name, Actor.on_command_line(), uri=uri, capacity=limits)
    click.echo(f"Changed {name}", err=True)


@clusters.command()
@click.argument("name")
@click.option("--undo", is_flag=True, help="Let it take new tenants again.")
@click.option("--move", "moving", is_flag=True, help="Move the tenants that are there.")
@click.option("--to", metavar="CLUSTER", help="With --move: where to; else where most is free.")
@click.option(
    "--parallel",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    help="How many tenants to move at a time.",
)
@json_option
def drain(
    name: str, undo: bool, moving: bool, to: str | None, parallel: int, as_json: bool
) -> None:
    """Let a cluster take no new tenants, and show which are there.

    They work on. --move takes them to other clusters, one after another, each as `multitenant move`
    does; `clusters close` gives the cluster up when the last is gone. May be run again, to see what
    is left, or to go on.

    \b
    Examples:
      multitenant clusters drain blue
      multitenant clusters drain blue --move --parallel 8
      multitenant clusters drain blue --undo
    """  # noqa: D301  # click wants a real backspace here
    if (undo and moving) or (to and not moving):
        raise click.UsageError("--to is for --move, and --undo for itself")
    with running_database() as settings, opened_platform(settings) as platform:
        actor = Actor.on_command_line()
        if undo:
            platform.clusters.open(name, actor)
            click.echo(f"{name} takes new tenants", err=True)
            return
        begun = platform.clusters.drain(name, actor)
        left = find_tenants_on_cluster(platform.connections.admin_db, name)
        if moving:
            move_away(platform, name, left, to, parallel=parallel, as_json=as_json)
            return
    if as_json:
        told = [
            {"id": str(one["_id"]), "name": one["name"], "status": one["status"]} for one in left
        ]
        click.echo(json.dumps({"cluster": name, "tenants": told, "onTheirWay": len(begun)}))
        return
    for one in left[:SHOWN]:
        click.echo(f"{one['_id']}  {one['name']}  {one['status']}")
    if len(left) > SHOWN:
        click.echo(f"and {len(left) - SHOWN} more; --json lists all")
    more = f", and {len(begun)} that were begun before" if begun else ""
    then = (
        "`--move`, or `multitenant move`, moves them"
        if left
        else f"`multitenant clusters close {name}` next"
    )
    click.echo(f"{name} takes no new tenants. There are {len(left)} on it{more}; {then}", err=True)


@clusters.command()
@click.argument("name")
@yes_option
def close(name: str, yes: bool) -> None:
    """Give up a drained cluster on which nothing is any more.

    No process is connected to it from then on. Its record stays: `clusters drain --undo` takes it
    back into service.

    \b
    Example:
      multitenant clusters close blue
    """  # noqa: D301  # click wants a real backspace here
    ask(f"Close the cluster {name}?", yes=yes)
    with running_database() as settings, opened_platform(settings) as platform:
        platform.clusters.close(name, Actor.on_command_line())
    click.echo(f"{name} is closed", err=True)


@clusters.command()
@click.argument("name")
@yes_option
def remove(name: str, yes: bool) -> None:
    """Close a drained cluster on which nothing is any more, and forget it with its URI.

    \b
    Example:
      multitenant clusters remove blue
    """  # noqa: D301  # click wants a real backspace here
    ask(f"Remove the cluster {name}?", yes=yes)
    with running_database() as settings, opened_platform(settings) as platform:
        platform.clusters.remove(name, Actor.on_command_line())
    click.echo(f"{name} is removed", err=True)


def _read_uri(*, stdin: bool) -> str:
    if stdin:
        uri = sys.stdin.readline().strip()
    else:
        uri = os.environ.get(URI_VARIABLE, "").strip()
        uri = uri or str(click.prompt("URI", hide_input=True, err=True))
    if not uri:
        raise click.UsageError("The URI is empty")
    return uri


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
