"""`multitenant openapi`."""

import secrets
from pathlib import Path

import click
import orjson
from pydantic import SecretStr

from multitenant import create_app
from multitenant.config import MIN_SECRET_BYTES, Settings
from multitenant.openapi import build_document


@click.command()
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write to this file instead of standard output.",
)
def openapi(output: Path | None) -> None:
    """Print the OpenAPI document, the same as at /openapi.json.

    Needs no database and no settings.

    \b
    Example:
      multitenant openapi -o openapi.json
    """  # noqa: D301  # click wants a real backspace here
    nowhere = Settings(
        multitenant_env="development",
        admin_db_uri=SecretStr("mongodb://localhost"),
        jwt_secret_keys=(SecretStr(secrets.token_hex(MIN_SECRET_BYTES)),),
        credential_keys=(SecretStr(secrets.token_hex(MIN_SECRET_BYTES)),),
    )
    document = orjson.dumps(build_document(create_app(nowhere)), option=orjson.OPT_INDENT_2)
    if output:
        output.write_bytes(document + b"\n")
    else:
        click.echo(document)
