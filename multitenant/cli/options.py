"""Options and questions that commands share."""

import click
from pydantic import ValidationError

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def ask(question: str, *, yes: bool) -> None:
    """Return if the person agrees, or said `yes` before; else end the command."""
    if not yes:
        click.confirm(question, abort=True, err=True)


def explain_invalid(error: ValidationError) -> str:
    """What is wrong with each value, never the value itself."""
    return "\n".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_input=False)
    )
