"""What can go wrong, in the domain's words.

Services, repositories and the tenancy layer raise these; `middleware/error_handlers.py` is the
one place that turns a `code` into an HTTP status.
"""

from typing import ClassVar, Self


class DomainError(Exception):
    """Base of everything a caller can be told about."""

    code: ClassVar[str] = "internal_error"
    default_message: ClassVar[str] = "Something went wrong"

    def __init__(
        self,
        message: str | None = None,
        *,
        incorrect_field: str | None = None,
        errors: list[dict[str, str]] | None = None,
        retry_after: int | None = None,
    ) -> None:
        """`errors` lists `{"field": …, "message": …}`; `retry_after` is in seconds."""
        self.message = message or self.default_message
        self.incorrect_field = incorrect_field
        self.errors = errors
        self.retry_after = retry_after
        super().__init__(self.message)


def error_codes() -> list[str]:
    """Return every code that an answer may have, in the order of the alphabet."""
    codes, pending = (
        {"method_not_allowed", "payload_too_large", "unsupported_media_type"},
        [DomainError],
    )
    while pending:
        error = pending.pop()
        codes.add(error.code)
        pending += error.__subclasses__()
    return sorted(codes)


class MalformedJson(DomainError):
    """Raised when a body is not one well-formed JSON document."""

    code = "malformed_json"
    default_message = "The body is not valid JSON"


class InvalidCursor(DomainError):
    """Raised when a paging cursor is not one that a list has answered."""

    code = "invalid_cursor"
    default_message = "The cursor is not one this list has answered; start again without it"


class TokenMissing(DomainError):
    """Raised when a protected route is called without a token."""

    code = "token_missing"
    default_message = "This needs a token: log in and send it as 'Authorization: Bearer <token>'"


class TokenInvalid(DomainError):
    """Raised when a token is malformed, forged, of the wrong type or signed by a foreign key."""

    code = "token_invalid"
    default_message = "The token is not valid; log in again"


class TokenExpired(DomainError):
    """Raised when a genuine token is past its time."""

    code = "token_expired"
    default_message = "The token has expired; refresh it or log in again"


class TokenRevoked(DomainError):
    """Raised when a genuine token was withdrawn, or its user or tenant is gone."""

    code = "token_revoked"
    default_message = "The token has been revoked; log in again"


class CredentialsInvalid(DomainError):
    """Raised when email and password open no active account, whatever the reason."""

    code = "credentials_invalid"
    default_message = "Invalid email or password"


class RoleRequired(DomainError):
    """Raised when the user's role does not allow the action."""

    code = "role_required"
    default_message = "Your role does not allow this"


class TenantMismatch(DomainError):
    """Raised when a token is used under the name of another tenant."""

    code = "tenant_mismatch"
    default_message = "The token belongs to another tenant than the one this request names"


class TenantSuspended(DomainError):
    """Raised when the tenant is suspended."""

    code = "tenant_suspended"
    default_message = "This tenant is suspended"


class ModuleDisabled(DomainError):
    """Raised when the tenant has not bought the module that a route belongs to."""

    code = "module_disabled"
    default_message = "This tenant does not have this module"


class CsrfFailed(DomainError):
    """Raised when a cookie carries the token and the CSRF header does not match it."""

    code = "csrf_failed"
    default_message = "The X-CSRF-TOKEN header does not match the cookie"


class NotFound(DomainError):
    """Raised when there is no such thing (in this tenant)."""

    code = "not_found"
    default_message = "There is no such thing here"


class AlreadyExists(DomainError):
    """Raised when a value that must be unique is taken; `incorrect_field` names it."""

    code = "already_exists"
    default_message = "This already exists"


class TenantRequired(DomainError):
    """Raised when credentials fit in more than one tenant and none was named."""

    code = "tenant_required"
    default_message = "This account exists in several tenants: say which in 'tenant'"


class UserLimitReached(DomainError):
    """Raised when a tenant has as many users as it may have."""

    code = "user_limit_reached"
    default_message = "This tenant has as many users as it may have; remove one first"


class Conflict(DomainError):
    """Raised when the state of things does not allow the change."""

    code = "conflict"
    default_message = "The change conflicts with the current state"


class ValidationFailed(DomainError):
    """Raised when input does not fit its schema; `errors` says where."""

    code = "validation_failed"
    default_message = "The request is not valid"

    @classmethod
    def of_field(cls, field: str, message: str, *, called: str | None = None) -> Self:
        """Return the error of one field, which a sentence for people calls `called`."""
        return cls(
            f"{called or field} {message}",
            incorrect_field=field,
            errors=[{"field": field, "message": message}],
        )


class RateLimited(DomainError):
    """Raised when there are too many requests of a costly kind."""

    code = "rate_limited"
    default_message = "Too many requests; try again shortly"


class TenantBusy(DomainError):
    """Raised when a tenant has as many requests in flight as it may have."""

    code = "tenant_busy"
    default_message = "This tenant has too many requests in flight; try again shortly"


class TenantMaintenance(DomainError):
    """Raised while a tenant is in maintenance."""

    code = "tenant_maintenance"
    default_message = "This tenant is being maintained; try again shortly"


class DatabaseUnavailable(DomainError):
    """Raised when a database does not answer in time; nothing is known to have changed."""

    code = "database_unavailable"
    default_message = "The database does not answer; try again shortly"


class DatabaseLost(DatabaseUnavailable):
    """Raised when a tenant's database is not what the platform made for it: it was dropped, or
    another one is under its name. The message is for operators."""


class DamagedRecord(DatabaseUnavailable):
    """Raised when a tenant's record in the admin database is not as the schema says, so that
    nobody knows where the tenant's data is, or who may use it."""


class DecryptionFailed(Exception):
    """Raised when an encrypted field cannot be read with CREDENTIAL_KEYS; the message says which,
    and is for operators, not for callers."""


class BackupError(Exception):
    """Raised when a backup or a copy of a tenant cannot be made, or what should be one is damaged;
    the message names what is wrong, and is for operators."""


class ConfigurationError(Exception):
    """Raised at start when settings or routes are wrong; the message names each and how to fix
    it."""
