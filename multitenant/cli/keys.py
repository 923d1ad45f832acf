"""`multitenant keys`."""

import sys

import click

from multitenant.cli.platform import opened_platform, running_database
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.key_rotation import count_outdated, rotate_keys


@click.group()
def keys() -> None:
    """Operate on the keys that encrypt credentials.

    \b
    Example:
      CREDENTIAL_KEYS=new,old multitenant keys rotate
    """  # noqa: D301  # click wants a real backspace here


@keys.command()
def rotate() -> None:
    """Encrypt every stored URI and credential with the first of CREDENTIAL_KEYS.

    To replace a key: put the new one first, restart every process, run this, and then remove the
    old one. The platform works on meanwhile. If it is stopped, run it again: it goes on with
    what is left.

    \b
    Example:
      CREDENTIAL_KEYS=new,old multitenant keys rotate
    """  # noqa: D301  # click wants a real backspace here
    with running_database() as settings, opened_platform(settings) as platform:
        admin_db, cipher = platform.connections.admin_db, platform.cipher
        outdated = count_outdated(admin_db, cipher)
        with click.progressbar(
            rotate_keys(admin_db, cipher), length=outdated, label="Encrypting", file=sys.stderr
        ) as steps:
            outcomes = list(steps)
        unreadable = [why for why in outcomes if why is not None]
        done = len(outcomes) - len(unreadable)
        if done:
            Actor.on_command_line().record(admin_db, "keys.rotate", None, fields=done)
        if unreadable:
            for why in unreadable:
                click.echo(why, err=True)
            raise click.ClickException(
                f"{done} fields encrypted anew; {len(unreadable)} cannot be decrypted and stay as"
                " they are. Put the key that they were encrypted with behind the new one in"
                " CREDENTIAL_KEYS, or give these tenants new credentials, and run this again."
            )
        left = count_outdated(admin_db, cipher)
        if left:
            raise click.ClickException(
                f"{left} fields are still encrypted with an old key: a process that does not have"
                " the new one has written them. Restart every process and run this again."
            )
    click.echo(f"{done} fields encrypted anew; all have the current key now", err=True)
