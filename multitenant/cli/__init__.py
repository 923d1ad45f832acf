"""The `multitenant` command, one module for each subcommand."""

import sys
from typing import NoReturn

import click

from multitenant.cli.backup import backup
from multitenant.cli.clone import clone
from multitenant.cli.clusters import clusters
from multitenant.cli.completion import completion
from multitenant.cli.doctor import doctor
from multitenant.cli.init import init
from multitenant.cli.keys import keys
from multitenant.cli.migrations import migrations
from multitenant.cli.move import move
from multitenant.cli.openapi import openapi
from multitenant.cli.restore import restore
from multitenant.cli.run import run
from multitenant.cli.tenants import tenants
from multitenant.config import is_text
from multitenant.embedded import EmbeddedServerError
from multitenant.errors import BackupError, ConfigurationError, DecryptionFailed, DomainError
from multitenant.repositories.error_kinds import is_expected
from multitenant.repositories.error_texts import explain


class Commands(click.Group):
    """The commands, of which none has to do with arguments that are no text."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See Group; refuse what is not UTF-8, and NUL, which no name or path has."""
        for text in args:
            if not is_text(text):
                raise click.UsageError(f"The argument {text!a} is not UTF-8 text", ctx)
        return super().parse_args(ctx, args)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="multitenant")
def cli() -> None:
    """Run and operate a platform with one MongoDB database per tenant.

    Settings come from the environment and from .env; docs/configuration.md lists them.

    \b
    Examples:
      multitenant run
      multitenant doctor
      multitenant tenants list
    """  # noqa: D301  # click wants a real backspace here


for command in (
    run,
    init,
    doctor,
    tenants,
    clusters,
    migrations,
    backup,
    restore,
    clone,
    move,
    keys,
    openapi,
    completion,
):
    cli.add_command(command)


def main() -> None:
    """Run the command; an expected failure is one message on standard error and exit code 1."""
    try:
        cli()
    except DomainError as error:
        wrong = [f"\n  {one['field']}: {one['message']}" for one in error.errors or []]
        _fail(error.message + "".join(wrong))
    except UnicodeDecodeError:
        _fail("The input is not UTF-8 text")
    except (
        BackupError,
        ConfigurationError,
        EmbeddedServerError,
        DecryptionFailed,
        OSError,
    ) as error:
        _fail(str(error))
    except Exception as error:
        if not is_expected(error):
            raise
        _fail(f"MongoDB (ADMIN_DB_URI) does not do what it should: {explain(error)}")


def _fail(message: str) -> NoReturn:
    click.echo(f"Error: {message}", err=True)
    sys.exit(1)
