"""Settings: read from the environment and `.env`, checked at start, never changed afterwards."""

import os
import re
import secrets
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import limits
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

from multitenant.addresses import format_address, is_ipv6, parse_address, without_brackets
from multitenant.errors import ConfigurationError
from multitenant.instance import read_or_create
from multitenant.mongodb_uris import PLATFORM, check_uri
from multitenant.schemas.payload import Email, NewPassword

# What the shipped .env holds so that `make run` works; production must choose its own.
DEVELOPMENT_OPERATOR_EMAIL = "operator@example.com"
DEVELOPMENT_BASE_DOMAIN = "localhost"
RESERVED_DATABASES = ("admin", "local", "config")
UNIX_SOCKET = "unix:"
"""What the peer of a Unix socket is called, which has no address."""
ADMIN_MONITORING_SOCKETS = 2
"""With which the client of the admin database watches each server."""
MIN_SECRET_BYTES = 32
MAX_BCRYPT_ROUNDS = 16
HOW_TO_MAKE_A_KEY = "make one with `python -c 'import secrets; print(secrets.token_hex(32))'`"
HOST_NAME = r"[a-z0-9-]+(\.[a-z0-9-]+)*"
BRACKETED = r"\[[0-9a-f:.]+\]"
# Secrets that are made on the first start in development: setting, and the same as file name.
GENERATED_SECRETS = ("jwt_secret_keys", "credential_keys")


def _split(value: Any) -> Any:
    return (
        [part.strip() for part in value.split(",") if part.strip()] if type(value) is str else value
    )


def _mongodb_uri(value: SecretStr) -> SecretStr:
    if uri := value.get_secret_value():
        check_uri(uri, PLATFORM)
    return value


def _host_patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        host, _ = parse_address(value)
        if not re.fullmatch(rf"((\*\.)?{HOST_NAME}|{BRACKETED})(:\d{{1,5}})?", value) or (
            value.startswith("[") and not is_ipv6(host)
        ):
            raise ValueError(
                f"{value!r} is not a host such as 'db.example.com', 'db.example.com:27017',"
                " '*.example.com' or '[2001:db8::7]:27017'"
            )
    return values


def _origins(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not re.fullmatch(rf"https?://({HOST_NAME}|{BRACKETED})(:\d{{1,5}})?", value):
            raise ValueError(f"{value!r} is not an origin such as 'https://app.example.com'")
    return values


def _cookie_domain(value: str) -> str:
    name = value.removeprefix(".")
    if name and not re.fullmatch(r"([a-z0-9-]+\.)+[a-z][a-z0-9-]*", name):
        raise ValueError(f"{value!r} is not a domain such as 'example.com'")
    return name


def _networks(value: Any) -> Any:
    try:
        return tuple(part if part == UNIX_SOCKET else ip_network(part) for part in _split(value))
    except ValueError as error:
        raise ValueError(
            f"must be addresses or networks such as '10.0.0.0/8', or '{UNIX_SOCKET}'"
        ) from error


def _rate_limits(value: str) -> str:
    try:
        limits.parse_many(value)
    except ValueError as error:
        raise ValueError("is not a limit such as '20 per minute;200 per hour'") from error
    return value


def _not_reserved(name: str) -> str:
    if name in RESERVED_DATABASES:
        raise ValueError(f"{name!r} is MongoDB's own database; choose another name")
    return name


def is_text(value: str) -> bool:
    """Whether that can be encoded, and has no NUL, which C takes for an end. What came from the
    system as bytes that are not UTF-8 cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in value


class Settings(BaseModel):
    """Every setting; the environment variable has the field's name in capitals.

    `docs/configuration.md` explains each one, and a test compares the two.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    multitenant_env: Literal["production", "development"] = "production"
    host: Annotated[str, Field(min_length=1), AfterValidator(without_brackets)] = "127.0.0.1"
    port: int = Field(5000, ge=1, le=65535)
    workers: int = Field(2, ge=1, le=256)
    worker_class: Literal["gevent", "gthread"] = "gevent"
    threads: int = Field(16, ge=1, le=256)
    keepalive_seconds: int = Field(75, ge=1, le=3600)
    drain_seconds: float = Field(0, ge=0, le=600)
    graceful_timeout: int = Field(30, ge=1, le=3600)
    instance_path: Path = Path("instance")
    mongod_binary: str = ""

    admin_db_uri: Annotated[SecretStr, AfterValidator(_mongodb_uri)] = SecretStr("")
    admin_db_name: Annotated[
        str, Field(pattern=r"^[A-Za-z0-9_-]{1,38}$"), AfterValidator(_not_reserved)
    ] = "multitenant_admin"
    tenant_db_prefix: str = Field("tenant_", pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,37}$")
    max_pool_size: int = Field(32, ge=1, le=1000)
    connection_budget: int = Field(250, ge=1, le=100_000)
    operation_timeout_ms: int = Field(10_000, ge=100, le=600_000)
    tenant_cache_size: int = Field(5000, ge=1, le=1_000_000)
    tenant_cache_seconds: float = Field(3600, gt=0)
    tenant_stale_seconds: float = Field(1.0, ge=0, le=60)
    isolation_check: bool = False
    token_cache_size: int = Field(10_000, ge=1, le=10_000_000)
    revocation_cache_size: int = Field(30_000, ge=1, le=30_000_000)
    host_cache_size: int = Field(4096, ge=1, le=1_000_000)
    dedicated_pool_size: int = Field(4, ge=1, le=100)
    dedicated_idle_seconds: float = Field(300, gt=0)
    tenant_uri_allowed_hosts: Annotated[
        tuple[str, ...], BeforeValidator(_split), AfterValidator(_host_patterns)
    ] = ()
    credential_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] = ()
    provisioning_pool_size: int = Field(4, ge=0, le=1000)
    purge_after_days: int = Field(30, ge=1, le=3650)

    jwt_secret_keys: Annotated[tuple[SecretStr, ...], BeforeValidator(_split)] = ()
    access_token_seconds: int = Field(900, ge=10, le=86_400)
    refresh_token_seconds: int = Field(30 * 86_400, ge=60, le=365 * 86_400)
    refresh_grace_seconds: float = Field(10, ge=0, le=300)
    invitation_seconds: int = Field(7 * 86_400, ge=60, le=90 * 86_400)
    impersonation_seconds: int = Field(300, ge=10, le=3600)
    bcrypt_rounds: int = Field(12, ge=4, le=MAX_BCRYPT_ROUNDS)
    password_hash_concurrency: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1, le=64)

    cookie_domain: Annotated[str, AfterValidator(_cookie_domain)] = ""
    base_domain: str = Field("", pattern=r"^([a-z0-9-]+(\.[a-z0-9-]+)*)?$")
    max_content_length: int = Field(1024 * 1024, ge=1024, le=16 * 1024 * 1024)
    login_rate_limit: Annotated[str, AfterValidator(_rate_limits)] = "20 per minute;200 per hour"
    tenant_change_limit: Annotated[str, AfterValidator(_rate_limits)] = (
        "600 per minute;5000 per day"
    )
    tenant_max_concurrency: int | None = Field(None, ge=1, le=256)
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_origins)] = ()
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network | Literal["unix:"], ...], BeforeValidator(_networks)
    ] = ()
    operator_email: Email | None = None
    operator_password: NewPassword | None = None
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @property
    def production(self) -> bool:
        """Whether this is the real thing."""
        return self.multitenant_env == "production"

    @property
    def address(self) -> str:
        """HOST and PORT, as a URL has them."""
        return format_address(self.host, self.port)

    @property
    def requests_at_work(self) -> int:
        """How many requests of a worker get on at the same time: those that have a thread; under
        gevent, where all have one, those that can have a connection to the database."""
        return self.max_pool_size if self.worker_class == "gevent" else self.threads

    @property
    def max_waiting_hashes(self) -> int:
        """How many requests of a worker may hash or wait to hash: there is always room for
        everything else."""
        return max(1, self.requests_at_work * 3 // 4)

    @property
    def max_waiting_for_a_cluster(self) -> int:
        """How many requests of a worker may wait for a cluster that does not answer: a quarter of
        what it can work on."""
        return max(1, self.requests_at_work // 4)

    @property
    def max_requests_of_a_tenant(self) -> int:
        """How many requests of one tenant a worker serves at a time: half of what it can, unless
        TENANT_MAX_CONCURRENCY says otherwise."""
        return self.tenant_max_concurrency or max(1, self.requests_at_work // 2)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        problems = []
        needed = self.max_pool_size + ADMIN_MONITORING_SOCKETS
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
        for name in GENERATED_SECRETS:
            problems += [
                f"{name.upper()}: key {number} is weak; {HOW_TO_MAKE_A_KEY}"
                for number, key in enumerate(getattr(self, name), 1)
                if _is_weak(key.get_secret_value())
            ]
        if set(self.jwt_secret_keys) & set(self.credential_keys):
            problems.append("CREDENTIAL_KEYS: a key of JWT_SECRET_KEYS must not serve here, too")
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
        problems += [
            f"{name.upper()}: missing; {HOW_TO_MAKE_A_KEY}"
            for name in GENERATED_SECRETS
            if not getattr(self, name)
        ]
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
    given = _read(env_file) if env_file else {}
    given |= os.environ if environment is None else environment
    values = {}
    problems = []
    for variable, field in known.items():
        value = given.get(variable)
        if path := given.get(f"{variable}_FILE"):
            try:
                value = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, ValueError) as error:
                shown = path if is_text(path) else ascii(path)
                problems.append(f"{variable}_FILE: {shown} cannot be read ({type(error).__name__})")
        if value and not is_text(value):
            problems.append(f"{variable}: is not UTF-8 text, or has NUL in it")
        elif value:
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


def _read(env_file: Path) -> dict[str, str | None]:
    """The variables of the file; none, where there is none. Raises ConfigurationError."""
    try:
        return {**dotenv_values(env_file)}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The settings cannot be read: {env_file} ({type(error).__name__})"
        ) from error


def _with_generated_secrets(settings: Settings) -> Settings:
    made = {}
    for name in GENERATED_SECRETS:
        if not getattr(settings, name):
            key = read_or_create(
                settings.instance_path / name, lambda: secrets.token_hex(MIN_SECRET_BYTES)
            )
            made[name] = (SecretStr(key),)
    return settings.model_copy(update=made)


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
