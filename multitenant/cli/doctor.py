"""`multitenant doctor`."""

import sys
from collections import Counter
from collections.abc import Iterator

import click
import orjson

from multitenant.cli.options import json_option
from multitenant.cli.platform import opened_platform, running_database
from multitenant.embedded import EmbeddedServerError
from multitenant.errors import ConfigurationError
from multitenant.tenancy.operations.doctor.doctor import Doctor, not_examined
from multitenant.tenancy.operations.doctor.heartbeats import Heartbeats
from multitenant.tenancy.operations.doctor.subject import Subject
from multitenant.tenancy.operations.doctor.verdict import Finding, Level, bad

SECONDS = 60
SECONDS_FOR_ALL = 3600
COLOURS = {Level.OK: "green", Level.WARNING: "yellow", Level.FAILURE: "red"}


@click.command()
@click.option("--all", "everything", is_flag=True, help="Look into all tenants' databases.")
@click.option(
    "--timeout",
    "seconds",
    type=click.IntRange(1, 7 * 86_400),
    metavar="SECONDS",
    help=f"Take no longer than this; {SECONDS}, or {SECONDS_FOR_ALL} with --all.",
)
@json_option
def doctor(everything: bool, seconds: int | None, as_json: bool) -> None:
    """Check settings, MongoDB, permissions and data, and say how to fix what is wrong.

    Exits with 1 when something fails; warnings are no failure. It changes nothing, but makes a
    database to try things in, which it drops again. It may run at any time, beside the platform.

    \b
    Examples:
      multitenant doctor
      multitenant doctor --json --timeout 20
      multitenant doctor --all
    """  # noqa: D301  # click wants a real backspace here
    findings = []
    seconds = seconds or (SECONDS_FOR_ALL if everything else SECONDS)
    for finding in _examine(everything=everything, seconds=seconds):
        findings.append(finding)
        if not as_json:
            _print(finding)
    counts = Counter(finding.verdict.level for finding in findings)
    if as_json:
        told = [
            {
                "check": finding.check,
                "cluster": finding.cluster,
                "level": finding.verdict.level,
                "found": finding.verdict.found,
                "mend": finding.verdict.mend or None,
            }
            for finding in findings
        ]
        click.echo(orjson.dumps({"ok": not counts[Level.FAILURE], "findings": told}))
    else:
        click.echo(", ".join(f"{counts[level]} {level}" for level in Level if counts[level]))
    if counts[Level.FAILURE]:
        sys.exit(1)


def _examine(*, everything: bool, seconds: int) -> Iterator[Finding]:
    heartbeats = Heartbeats()
    try:
        with (
            running_database() as settings,
            opened_platform(settings, listeners=[heartbeats]) as platform,
        ):
            subject = Subject(
                settings,
                platform.connections,
                platform.cipher,
                heartbeats,
                everything=everything,
            )
            yield from Doctor(subject, seconds=seconds).examine()
    except (ConfigurationError, EmbeddedServerError) as error:
        yield Finding("settings", None, bad(str(error), "docs/configuration.md explains each"))
        yield from not_examined("needs settings that work")


def _print(finding: Finding) -> None:
    verdict = finding.verdict
    level = click.style(f"{verdict.level:<12}", fg=COLOURS.get(verdict.level))
    where = f" ({finding.cluster})" if finding.cluster else ""
    click.echo(f"{level}{finding.check}{where}: {verdict.found}")
    if verdict.mend:
        click.echo(f"{'':<12}-> {verdict.mend}")
