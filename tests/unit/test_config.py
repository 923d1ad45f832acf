"""Settings: read, checked, explained."""

import re
import stat
from pathlib import Path
from typing import Any

import pytest
from annotated_types import Ge, Le

from multitenant.config import Settings, load_settings
from multitenant.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
PRODUCTION = {
    "MULTITENANT_ENV": "production",
    "ADMIN_DB_URI": "mongodb://db.internal/?replicaSet=rs0",
    "JWT_SECRET_KEYS": "0123456789abcdef" * 4,
    "CREDENTIAL_KEYS": "fedcba9876543210" * 4,
    "OPERATOR_EMAIL": "ops@acme.com",
}


def refused(environment: dict[str, str]) -> list[str]:
    """The lines of the refusal, each naming one setting."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(environment, env_file=None)
    return str(caught.value).splitlines()[1:-1]


def test_production_with_all_it_needs_is_accepted() -> None:
    settings = load_settings(PRODUCTION, env_file=None)
    assert settings.production
    assert settings.tenant_cache_size == 5000
    assert settings.access_token_seconds == 900
    assert settings.bcrypt_rounds == 12


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ADMIN_DB_URI": ""}, "ADMIN_DB_URI"),
        ({"JWT_SECRET_KEYS": ""}, "JWT_SECRET_KEYS"),
        ({"JWT_SECRET_KEYS": "short"}, "JWT_SECRET_KEYS"),
        ({"CREDENTIAL_KEYS": ""}, "CREDENTIAL_KEYS"),
        ({"CREDENTIAL_KEYS": "short"}, "CREDENTIAL_KEYS"),
        ({"CREDENTIAL_KEYS": "0123456789abcdef" * 4}, "CREDENTIAL_KEYS"),
        ({"LOGIN_RATE_LIMIT": "many"}, "LOGIN_RATE_LIMIT"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS"),
        ({"CORS_ORIGINS": "https://app.example/path"}, "CORS_ORIGINS"),
        ({"TRUSTED_PROXIES": "everybody"}, "TRUSTED_PROXIES"),
        ({"TENANT_URI_ALLOWED_HOSTS": "*"}, "TENANT_URI_ALLOWED_HOSTS"),
        ({"JWT_SECRET_KEYS": "a" * 64}, "JWT_SECRET_KEYS"),
        ({"JWT_SECRET_KEYS": "0123456789abcdef" * 4 + ",secret"}, "JWT_SECRET_KEYS"),
        ({"OPERATOR_EMAIL": ""}, "OPERATOR_EMAIL"),
        ({"OPERATOR_EMAIL": "operator@example.com"}, "OPERATOR_EMAIL"),
        ({"OPERATOR_PASSWORD": "only eleven"}, "OPERATOR_PASSWORD"),
        ({"BASE_DOMAIN": "localhost"}, "BASE_DOMAIN"),
        ({"BCRYPT_ROUNDS": "9"}, "BCRYPT_ROUNDS"),
    ],
)
def test_production_refuses_what_is_unsafe_by_name(changes: dict[str, str], named: str) -> None:
    lines = refused(PRODUCTION | changes)
    assert len(lines) == 1
    assert lines[0].startswith(f"  {named}: ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "0"),
        ("PORT", "http"),
        ("ADMIN_DB_URI", "localhost:27017"),
        ("ADMIN_DB_NAME", "admin"),
        ("ADMIN_DB_NAME", "a/b"),
        ("TENANT_DB_PREFIX", "x" * 40),
        ("TENANT_DB_PREFIX", "multitenant_admin"),
        ("CONNECTION_BUDGET", "10"),
        ("BCRYPT_ROUNDS", "3"),
        ("BASE_DOMAIN", "http://example.com"),
        ("OPERATOR_EMAIL", "nobody"),
        ("OPERATOR_PASSWORD", "short"),
        ("OPERATOR_PASSWORD", "x" * 73),
        ("LOG_LEVEL", "LOUD"),
        ("MULTITENANT_ENV", "staging"),
        ("TENANT_STALE_SECONDS", "-1"),
    ],
)
def test_a_wrong_value_is_refused_by_name_without_being_repeated(name: str, value: str) -> None:
    lines = refused(PRODUCTION | {name: value})
    assert len(lines) == 1
    assert lines[0].startswith(f"  {name}: ")
    if "PASSWORD" in name:
        assert value not in lines[0]


def test_every_wrong_value_is_named_in_one_message(tmp_path: Path) -> None:
    lines = refused(
        {"PORT": "x", "JWT_SECRET_KEYS": "abc", "ADMIN_DB_URI": "x", "BCRYPT_ROUNDS": "4"}
    )
    named = {line.strip().partition(":")[0] for line in lines}
    assert named == {
        "PORT",
        "JWT_SECRET_KEYS",
        "ADMIN_DB_URI",
        "BCRYPT_ROUNDS",
        "OPERATOR_EMAIL",
        "CREDENTIAL_KEYS",
    }


def test_the_environment_wins_over_the_file_and_empty_means_default(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PORT=6000\nWORKERS=7\nTHREADS=9\n")
    settings = load_settings(PRODUCTION | {"PORT": "7000", "THREADS": ""}, env_file=file)
    assert (settings.port, settings.workers, settings.threads) == (7000, 7, 16)


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "uri"
    file.write_text("mongodb://from.file/?replicaSet=rs0\n")
    settings = load_settings(PRODUCTION | {"ADMIN_DB_URI_FILE": str(file)}, env_file=None)
    assert settings.admin_db_uri.get_secret_value() == "mongodb://from.file/?replicaSet=rs0"


def test_a_file_that_cannot_be_read_is_named() -> None:
    lines = refused(PRODUCTION | {"JWT_SECRET_KEYS_FILE": "/nowhere/at/all"})
    assert lines == ["  JWT_SECRET_KEYS_FILE: /nowhere/at/all cannot be read (FileNotFoundError)"]


def test_development_makes_its_secrets_once_and_keeps_them_to_itself(tmp_path: Path) -> None:
    environment = {"MULTITENANT_ENV": "development", "INSTANCE_PATH": str(tmp_path / "instance")}
    first = load_settings(environment, env_file=None)
    second = load_settings(environment, env_file=None)
    assert first.jwt_secret_keys == second.jwt_secret_keys
    assert len(first.jwt_secret_keys[0].get_secret_value()) == 64
    file = tmp_path / "instance" / "jwt_secret_keys"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_production_makes_nothing_up(tmp_path: Path) -> None:
    changes = {"JWT_SECRET_KEYS": "", "INSTANCE_PATH": str(tmp_path / "instance")}
    refused(PRODUCTION | changes)
    assert not (tmp_path / "instance").exists()


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    text = repr(load_settings(PRODUCTION | {"OPERATOR_PASSWORD": "a long password"}, env_file=None))
    for secret in ("0123456789abcdef", "db.internal", "a long password"):
        assert secret not in text


def test_the_shipped_env_file_is_for_development_and_has_no_secret(tmp_path: Path) -> None:
    environment = {"INSTANCE_PATH": str(tmp_path)}
    settings = load_settings(environment, env_file=ROOT / ".env")
    assert settings.multitenant_env == "development"
    text = (ROOT / ".env").read_text()
    for name in ("JWT_SECRET_KEYS=", "OPERATOR_PASSWORD=", "ADMIN_DB_URI="):
        assert name not in text


def test_the_documentation_lists_exactly_the_settings_with_defaults_and_bounds() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)` \| ([^|]*) \| (.*) \|$", page, re.MULTILINE)
    documented = {name: (default, meaning) for name, default, meaning in rows}
    assert set(documented) == {name.upper() for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        shown, meaning = documented[name.upper()]
        default: Any = field.default
        if isinstance(default, int | float) and not isinstance(default, bool):
            assert float(shown.strip().strip("`")) == default, name
        least = [it.ge for it in field.metadata if isinstance(it, Ge)]
        most = [it.le for it in field.metadata if isinstance(it, Le)]
        for lower, upper in zip(least, most, strict=True):
            assert f"From {lower} to {upper}" in meaning, name


@pytest.mark.parametrize(
    "uri",
    [
        "mongodb://user:hid/den@host",
        "mongodb://user:12/hid den@host",
        "mongodb://user:hid@den@host",
        "mongodb+srv://user:hid@den@host",
        "mongodb://user:hidden@host/?replicaSet",
        "mongodb://user:hidden@host/?tls=true&tlsCAFile=/nowhere/ca.pem",
    ],
)
def test_a_uri_that_is_none_is_refused_without_a_piece_of_its_password(uri: str) -> None:
    (line,) = refused({**PRODUCTION, "ADMIN_DB_URI": uri})
    assert line.startswith("  ADMIN_DB_URI: ")
    assert "hid" not in line
    assert "den" not in line
