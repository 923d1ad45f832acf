"""`multitenant tenants add`."""

import hashlib
import sys

import click
import orjson
from pydantic import ValidationError

from multitenant.cli.options import explain_invalid, json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.schemas.admin.tenants import MODULES, NewTenant
from multitenant.tenancy.actor import Actor


@click.command()
@click.argument("name")
@click.argument("email")
@click.option("--password", "asks_password", is_flag=True, help="Ask for the owner's password.")
@click.option("--password-stdin", is_flag=True, help="Read it from standard input.")
@click.option("--subdomain", metavar="LABEL", help="The name below BASE_DOMAIN.")
@click.option("--isolation", type=click.Choice(["shared", "dedicated"]), help="Or shared.")
@click.option("--cluster", metavar="NAME", help="Where to put it.")
@click.option("--db-uri", "asks_uri", is_flag=True, help="Ask for the URI of its own MongoDB.")
@click.option("--db-uri-stdin", is_flag=True, help="Read that URI from standard input.")
@click.option(
    "--module",
    "modules",
    multiple=True,
    type=click.Choice(MODULES),
    help="A module that it has; all, without any. May be given several times.",
)
@click.option("--user-limit", type=int, metavar="N", help="The most users that it may have.")
@click.option("--idempotency-key", metavar="KEY", help="With it, a second try adds no second one.")
@json_option
def add(
    name: str,
    email: str,
    asks_password: bool,
    password_stdin: bool,
    asks_uri: bool,
    db_uri_stdin: bool,
    modules: tuple[str, ...],
    idempotency_key: str | None,
    as_json: bool,
    **options: str | int | None,
) -> None:
    """Add a tenant called NAME, with its own database, and EMAIL as its owner.

    Without a password the owner is invited: the token that is printed sets the first one, with
    `POST /api/invitations/accept`. Passwords and URIs are never arguments, which others on this
    machine could see.

    \b
    Examples:
      multitenant tenants add Acme ann@acme.example --subdomain acme
      multitenant tenants add Acme ann@acme.example --password-stdin --json <password.txt
      multitenant tenants add Globex gus@globex.example --db-uri
    """  # noqa: D301  # click wants a real backspace here
    if password_stdin and db_uri_stdin:
        raise click.UsageError("only one of --password-stdin and --db-uri-stdin can be read")
    given = {
        "name": name,
        "email": email,
        "password": _secret("Password", password_stdin, asks_password, confirm=True),
        "dbUri": _secret("URI", db_uri_stdin, asks_uri, confirm=False),
        "userLimit": options.pop("user_limit"),
        "modules": list(modules) or None,
        **options,
    }
    try:
        new = NewTenant.model_validate({key: it for key, it in given.items() if it is not None})
    except ValidationError as error:
        raise click.UsageError(explain_invalid(error)) from error
    actor = Actor.on_command_line()
    with running_database() as settings, opened_platform(settings) as platform:
        key = idempotency_key and _own_key(actor, idempotency_key)
        made = platform.provisioner.provision(new, idempotency_key=key, actor=actor)
    told = {"tenantId": str(made.tenant_id), "userId": str(made.user_id)}
    if made.invitation_token:
        told["invitationToken"] = made.invitation_token
    if as_json:
        click.echo(orjson.dumps(told))
    else:
        for label, value in told.items():
            click.echo(f"{label}: {value}")


def _secret(label: str, from_stdin: bool, asks: bool, *, confirm: bool) -> str | None:
    """Read a secret from where the caller said; None when they said nothing."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if asks:
        return str(click.prompt(label, hide_input=True, confirmation_prompt=confirm, err=True))
    return None


def _own_key(actor: Actor, key: str) -> str:
    """The key, made this system user's own: another's must not answer what was made here."""
    return hashlib.sha256(f"{actor.os_user} on the command line\n{key}".encode()).hexdigest()
