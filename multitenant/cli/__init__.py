"""The `multitenant` command, one module for each subcommand."""

import sys
from typing import NoReturn

import click
from pymongo.errors import PyMongoError

from multitenant.cli.backup import backup
from multitenant.cli.clone import clone
from multitenant.cli.clusters import clusters
from multitenant.cli.init import init
from multitenant.cli.keys import keys
from multitenant.cli.migrations import migrations
from multitenant.cli.openapi import openapi
from multitenant.cli.restore import restore
from multitenant.cli.run import run
from multitenant.cli.tenants import tenants
from multitenant.embedded import EmbeddedServerError
from multitenant.errors import BackupError, ConfigurationError, DecryptionFailed, DomainError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="multitenant")
def cli() -> None:
    """Run and operate a platform with one MongoDB database per tenant.

    Settings come from the environment and from .env; docs/configuration.md lists them.
    """


for command in (
    run,
    init,
    tenants,
    clusters,
    migrations,
    backup,
    restore,
    clone,
    keys,
    openapi,
):
    cli.add_command(command)


def main() -> None:
    """Run the command; an expected failure is one message on standard error and exit code 1."""
    try:
        cli()
    except (
        BackupError,
        ConfigurationError,
        EmbeddedServerError,
        DecryptionFailed,
        DomainError,
        OSError,
    ) as error:
        _fail(str(error))
    except PyMongoError as error:
        _fail(f"MongoDB (ADMIN_DB_URI) does not do what it should: {error}")


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
