"""What several of the `multitenant clusters` commands need."""

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from multitenant.tenancy.lifecycle.cluster_capacity import RESOURCES

URI_VARIABLE = "CLUSTER_URI"


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


def read_uri(*, stdin: bool) -> str:
    """Return the URI from standard input, the environment, or whoever is asked for it."""
    if stdin:
        uri = sys.stdin.readline().strip()
    else:
        uri = os.environ.get(URI_VARIABLE, "").strip()
        uri = uri or str(click.prompt("URI", hide_input=True, err=True))
    if not uri:
        raise click.UsageError("The URI is empty")
    return uri
