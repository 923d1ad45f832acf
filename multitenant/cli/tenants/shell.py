"""`multitenant tenants shell`."""

import code as console
import contextlib
import sys
import traceback
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pkgutil import iter_modules
from types import SimpleNamespace
from typing import Any

import click
import pymongo
from bson import ObjectId

from multitenant.cli.platform import ended_in_order, opened_platform, running_database
from multitenant.cli.tenants.shared import tenant_argument
from multitenant.repositories import tenant as repositories
from multitenant.repositories.model import Model, MongoDatabase, MongoDocument
from multitenant.repositories.transactions import in_transaction
from multitenant.schemas.admin.tenants import TenantAnswer
from multitenant.schemas.tenant import DOCUMENTS
from multitenant.services.admin.tenants import get_named_tenant
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import Role
from multitenant.tenancy.routing.tenant_access import TenantAccess

BANNER = """\
{tenant[name]}: tenant {tenant[id]}, {tenant[status]}, database {tenant[dbName]} ({rights})
  db            this tenant's database; MongoDB refuses every other to this shell
  models        what checks a document before it is written, as models.todos.insert(title="x")
  repositories  the queries of the application, as repositories.users.find_user_by_email(db, "…")
  tenant, ObjectId, datetime, timedelta, UTC
  timeout       `with timeout(600):` for what takes longer than {seconds:g} s
  in_transaction(db, work)
Ctrl-D ends it."""


@click.command()
@tenant_argument
@click.option("--read-only", is_flag=True, help="As a MongoDB user who can read, and not write.")
@click.option("--command", "-c", metavar="CODE", help="Run this instead, and end.")
def shell(named: str, read_only: bool, command: str | None) -> None:
    """Open a Python shell on one tenant's database and nothing else.

    It works as a MongoDB user made for it, who may use this one database and is dropped at the
    end. When standard input is no terminal, what is read from there is run. The audit log has
    who opened it, and with which rights.

    Users are better changed by the API: the admin database has to know of them, too.

    \b
    Examples:
      multitenant tenants shell acme
      multitenant tenants shell acme --read-only -c 'db.todos.count_documents({})'
      multitenant tenants shell acme <correct.py
    """  # noqa: D301  # click wants a real backspace here
    through = "command" if command is not None else "terminal" if sys.stdin.isatty() else "script"
    with (
        ended_in_order(),
        running_database() as settings,
        opened_platform(settings) as platform,
    ):
        record = get_named_tenant(platform.connections.admin_db, named)
        access = TenantAccess(platform.connections, platform.cipher)
        role: Role = "read" if read_only else "readWrite"
        actor = Actor.on_command_line()
        with access.opened(record, actor, role=role, through=through) as db:
            names = _names(db, record)
            if command is not None:
                _run(command, names)
            elif through == "script":
                _run(sys.stdin.read(), names)
            else:
                rights = "to read only" if read_only else "to read and write"
                banner = BANNER.format(
                    tenant=names["tenant"],
                    rights=rights,
                    seconds=settings.operation_timeout_ms / 1000,
                )
                _interact(banner, names)


def _names(db: MongoDatabase, record: MongoDocument) -> dict[str, Any]:
    """What the shell knows."""
    modules = [module.name for module in iter_modules(repositories.__path__)]
    return {
        "db": db,
        "tenant": TenantAnswer.of(record),
        "models": SimpleNamespace(
            **{it._meta["collection"]: Model(db, it) for it in DOCUMENTS}  # noqa: SLF001  # MongoEngine's
        ),
        "repositories": SimpleNamespace(
            **{name: import_module(f"{repositories.__name__}.{name}") for name in modules}
        ),
        "in_transaction": in_transaction,
        "timeout": pymongo.timeout,
        "ObjectId": ObjectId,
        "datetime": datetime,
        "timedelta": timedelta,
        "UTC": UTC,
    }


def _run(source: str, names: dict[str, Any]) -> None:
    """Run what was given; print the value, where it is an expression. Exits with 1 when it
    fails."""
    try:
        try:
            compiled = compile(source, "<shell>", "eval")
        except SyntaxError:
            exec(compile(source, "<shell>", "exec"), names)  # noqa: S102  # the command's purpose
            return
        value = eval(compiled, names)  # noqa: S307  # as above
        if value is not None:
            click.echo(repr(value))
    except Exception:  # noqa: BLE001  # whatever their code does
        click.echo(traceback.format_exc(), err=True, nl=False)
        sys.exit(1)


def _interact(banner: str, names: dict[str, Any]) -> None:
    """Read, run and print until the person leaves; with completion, where this Python has it."""
    with contextlib.suppress(ImportError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(names).complete)
        libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    console.interact(banner, local=names, exitmsg="")
