"""Settings: read from the environment and `.env`, checked at start, never changed afterwards."""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from multitenant.errors import ConfigurationError
from multitenant.instance import read_or_create
from multitenant.schemas.payload import Email, NewPassword

# What the shipped .env holds so that `make run` works; production must choose its own.
DEVELOPMENT_OPERATOR_EMAIL = "operator@example.com"
DEVELOPMENT_BASE_DOMAIN = "localhost"
RESERVED_DATABASES = ("admin", "local", "config")
MONITORING_SOCKETS_PER_CLIENT = 2
MIN_SECRET_BYTES = 32


def _split(value: Any) -> Any:
    return (
        [part.strip() for part in value.split(",") if part.strip()] if type(value) is str else value
    )


def _mongodb_uri(value: SecretStr) -> SecretStr:
    if value.get_secret_value() and not value.get_secret_value().startswith(
        ("mongodb://", "mongodb+srv://")
    ):
        raise ValueError("must start with mongodb:// or mongodb+srv://")
    return value


def _not_reserved(name: str) -> str:
    if name in RESERVED_DATABASES:
        raise ValueError(f"{name!r} is MongoDB's own database; choose another name")
    return name


class Settings(BaseModel):
    """Every setting; the environment variable has the field's name in capitals.

    `docs/configuration.md` explains each one, and a test compares the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    multitenant_env: Literal["production", "development"] = "production"
    host: str = Field("127.0.0.1", min_length=1)
    port: int = Field(5000, ge=1, le=65535)
    workers: int = Field(2, ge=1, le=256)
    threads: int = Field(16, ge=1, le=256)
    graceful_timeout: int = Field(30, ge=1, le=3600)
    instance_path: Path = Path("instance")
    mongod_binary: str = ""

    admin_db_uri: Annotated[SecretStr, AfterValidator(_mongodb_uri)] = SecretStr("")
    admin_db_name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{1,38}$"), AfterValidator(_not_reserved)
    ] = "multitenant_admin"
    tenant_db_prefix: str = Field("tenant_", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,37}$")
    max_pool_size: int = Field(24, ge=1, le=1000)
    connection_budget: int = Field(100, ge=1, le=100_000)
    operation_timeout_ms: int = Field(10_000, ge=100, le=600_000)
    tenant_cache_size: int = Field(5000, ge=1, le=1_000_000)
    tenant_cache_seconds: float = Field(3600, gt=0)
    tenant_stale_seconds: float = Field(1.0, ge=0, le=60)
    isolation_check: bool = False

    jwt_secret_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] = ()
    access_token_seconds: int = Field(900, ge=10, le=86_400)
    refresh_token_seconds: int = Field(30 * 86_400, ge=60, le=365 * 86_400)
    invitation_seconds: int = Field(7 * 86_400, ge=60, le=90 * 86_400)
    bcrypt_rounds: int = Field(12, ge=4, le=16)
    password_hash_concurrency: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=64)

    base_domain: str = Field("", pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)*)?$")
    max_content_length: int = Field(1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    operator_email: Email | None = None
    operator_password: NewPassword | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @property
    def production(self) -> bool:
        """Whether this is the real thing."""
        return self.multitenant_env == "production"

    @property
    def max_waiting_hashes(self) -> int:
        """How many requests of a worker may hash or wait to hash: a quarter of its threads
        always stays free for everything else."""
        return max(1, self.threads * 3 // 4)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        needed = self.max_pool_size + MONITORING_SOCKETS_PER_CLIENT
        if needed > self.connection_budget:
            problems.append(
                f"CONNECTION_BUDGET: {self.connection_budget} sockets are fewer than the"
                f" {needed} that MAX_POOL_SIZE and its monitoring may open"
            )
        if self.tenant_db_prefix.startswith(self.admin_db_name) or self.admin_db_name.startswith(
            self.tenant_db_prefix
        ):
            problems.append("TENANT_DB_PREFIX: ADMIN_DB_NAME could be taken for a tenant database")
        if self.production:
            problems += self._unsafe_in_production()
        problems += [
            f"JWT_SECRET_KEYS: key {number} is weak; make one with"
            " `python -c 'import secrets; print(secrets.token_hex(32))'`"
            for number, key in enumerate(self.jwt_secret_keys, 1)
            if _is_weak(key.get_secret_value())
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _unsafe_in_production(self) -> list[str]:
        problems = []
        if not self.admin_db_uri.get_secret_value():
            problems.append(
                "ADMIN_DB_URI: production needs a MongoDB replica set of its own; the embedded"
                " server is for development"
            )
        if not self.jwt_secret_keys:
            problems.append(
                "JWT_SECRET_KEYS: missing; make one with"
                " `python -c 'import secrets; print(secrets.token_hex(32))'`"
            )
        if self.bcrypt_rounds < 10:
            problems.append("BCRYPT_ROUNDS: fewer than 10 is too weak for production")
        if self.base_domain == DEVELOPMENT_BASE_DOMAIN:
            problems.append(
                f"BASE_DOMAIN: {DEVELOPMENT_BASE_DOMAIN!r} is the development default; set your"
                " domain, or nothing when tenants have no subdomains"
            )
        if self.operator_email is None:
            problems.append("OPERATOR_EMAIL: missing; the first operator logs in with it")
        if self.operator_email == DEVELOPMENT_OPERATOR_EMAIL:
            problems.append(
                f"OPERATOR_EMAIL: {DEVELOPMENT_OPERATOR_EMAIL!r} is the development default; set"
                " the address of your first operator"
            )
        password = self.operator_password
        if password is not None and len(password.get_secret_value()) < 12:
            problems.append("OPERATOR_PASSWORD: production wants 12 characters or more")
        return problems


def _is_weak(secret: str) -> bool:
    return len(secret.encode()) < MIN_SECRET_BYTES or len(set(secret)) < 8


def load_settings(
    environment: Mapping[str, str] | None = None, env_file: Path | None = Path(".env")
) -> Settings:
    """Return the settings of `environment` (default: the process's), over those of `env_file`.

    A name with `_FILE` behind it gives the path of a file that holds the value, as container
    platforms hand out secrets; an empty value means the default. In development, secrets that
    are missing are generated into the instance directory. Raises ConfigurationError, which
    names every wrong setting.
    """
    known = {name.upper(): name for name in Settings.model_fields}
    given: dict[str, str | None] = {**dotenv_values(env_file)} if env_file else {}
    given |= os.environ if environment is None else environment
    values = {}
    problems = []
    for variable, field in known.items():
        value = given.get(variable)
        if path := given.get(f"{variable}_FILE"):
            try:
                value = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                problems.append(f"{variable}_FILE: {path} cannot be read ({type(error).__name__})")
        if value:
            values[field] = value
    settings = None
    while settings is None:
        try:
            settings = Settings.model_validate(values)
        except ValidationError as error:
            problems += [
                line for line in _explain(error) if _name(line) not in map(_name, problems)
            ]
            wrong = {str(problem["loc"][0]) for problem in error.errors() if problem["loc"]}
            if not wrong:
                break
            # Once more without them, so that what only shows in the whole is named as well.
            values = {name: value for name, value in values.items() if name not in wrong}
    if settings is None or problems:
        listed = "\n".join(f"  {problem}" for problem in problems)
        raise ConfigurationError(f"The settings are wrong:\n{listed}\nSee docs/configuration.md.")
    return settings if settings.production else _with_generated_secrets(settings)


def _with_generated_secrets(settings: Settings) -> Settings:
    if settings.jwt_secret_keys:
        return settings
    key = read_or_create(
        settings.instance_path / "jwt_secret_keys", lambda: secrets.token_hex(MIN_SECRET_BYTES)
    )
    return settings.model_copy(update={"jwt_secret_keys": (SecretStr(key),)})


def _explain(error: ValidationError) -> list[str]:
    """One line for each wrong setting: its name and what is wrong, never its value."""
    lines = []
    for problem in error.errors():
        message = re.sub("^Value error, ", "", problem["msg"])
        name = str(problem["loc"][0]).upper() if problem["loc"] else ""
        lines += [f"{name}: {message}"] if name else message.split("\n")
    return lines


def _name(problem: str) -> str:
    return problem.partition(":")[0]
