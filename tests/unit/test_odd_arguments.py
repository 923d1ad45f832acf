"""Arguments, settings and input that are no text: a clear error, and never a traceback."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from multitenant.cli import cli
from multitenant.config import load_settings
from multitenant.errors import ConfigurationError
from multitenant.tenancy.actor import Actor
from tests.e2e.server import GUNICORN, MULTITENANT, ROOT
from tests.support import PATIENCE_SECONDS

pytestmark = pytest.mark.slow

Path_ = tuple[str, ...]


def commands(group: click.Group, path: Path_ = ()) -> Iterator[tuple[Path_, click.Command]]:
    """All commands, with the words that call them."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


ALL = [" ".join(path) for path, _ in commands(cli)]


@pytest.mark.parametrize("odd", ["\udcff", "a\0b"])
@pytest.mark.parametrize("path", ALL)
def test_an_argument_that_is_no_text_is_a_usage_error(path: str, odd: str) -> None:
    for arguments in ([odd], [f"--json={odd}"], ["x", odd, "y"]):
        result = CliRunner().invoke(cli, [*path.split(), *arguments])
        assert result.exit_code == 2
        assert "is not UTF-8 text" in result.output


def run(
    *arguments: bytes,
    directory: Path,
    command: tuple[str, ...] = MULTITENANT,
    **variables: bytes,
) -> str:
    """Run a command that must fail; return what it says."""
    environment = {b"PATH": os.environb[b"PATH"], b"PYTHONPATH": os.fsencode(ROOT)}
    environment |= {name.encode(): value for name, value in variables.items()}
    done = subprocess.run(
        [*map(os.fsencode, command), *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        timeout=PATIENCE_SECONDS,
    )
    text = (done.stdout + done.stderr).decode()
    assert done.returncode in (1, 2), text
    assert "Traceback" not in text
    return text


def test_a_byte_that_is_no_text_is_a_usage_error_of_the_process(tmp_path: Path) -> None:
    assert r"The argument '\udcff' is not UTF-8 text" in run(
        b"tenants", b"show", b"\xff", directory=tmp_path, MULTITENANT_ENV=b"development"
    )


def refusal(environment: dict[str, str], file: Path | None = None) -> str:
    with pytest.raises(ConfigurationError) as refused:
        load_settings(environment, env_file=file)
    str(refused.value).encode()
    return str(refused.value)


DEVELOPMENT = {"MULTITENANT_ENV": "development"}


@pytest.mark.parametrize("name", ["ADMIN_DB_URI", "PORT", "INSTANCE_PATH", "OPERATOR_PASSWORD"])
def test_a_setting_that_is_no_text_is_named(name: str) -> None:
    assert f"  {name}: is not UTF-8 text" in refusal({**DEVELOPMENT, name: "x\udcff"})


def test_a_file_of_a_secret_that_has_nul_or_no_name_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"a\0b")
    text = refusal({**DEVELOPMENT, "JWT_SECRET_KEYS_FILE": str(tmp_path / "secret")})
    assert "  JWT_SECRET_KEYS: is not UTF-8 text" in text
    for path in ("/x\udcff", "/x\0y"):
        text = refusal({**DEVELOPMENT, "JWT_SECRET_KEYS_FILE": path})
        assert "  JWT_SECRET_KEYS_FILE: " in text


@pytest.mark.parametrize("content", [b"PORT=\xff\n", b"\xff\xfe", b"INSTANCE_PATH=a\0b\n"])
def test_an_env_file_that_is_no_text_is_named(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / ".env"
    file.write_bytes(content)
    text = refusal(DEVELOPMENT, file)
    assert str(file) in text or "INSTANCE_PATH: " in text


def test_bytes_in_the_environment_are_an_error_of_the_process(tmp_path: Path) -> None:
    said = run(b"doctor", directory=tmp_path, MULTITENANT_ENV=b"development", PORT=b"\xff")
    assert "PORT: is not UTF-8 text" in said


def test_gunicorn_says_in_one_message_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=\xff\n")
    said = run(b"wsgi:app", directory=tmp_path, command=GUNICORN)
    assert "Error: The settings cannot be read: .env (UnicodeDecodeError)" in said


@pytest.mark.parametrize("name", ["an\udcffn", ""])
def test_the_audit_log_has_some_name_for_whoever_runs_a_command(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Also in a container whose user has none."""

    def nobody() -> str:
        if not name:
            raise KeyError("getpwuid(): uid not found: 12345")
        return name

    monkeypatch.setattr("getpass.getuser", nobody)
    known = Actor.on_command_line().os_user
    assert known
    assert known.encode()
