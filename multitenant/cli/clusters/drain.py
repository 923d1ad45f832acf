"""`multitenant clusters drain`."""

import json

import click

from multitenant.cli.clusters.drain_by_moving import move_away
from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.repositories.admin.tenants import find_tenants_on_cluster
from multitenant.tenancy.actor import Actor

SHOWN = 20


@click.command()
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
