"""Logging in: payloads."""

from typing import Annotated, Literal

from pydantic import Field, SecretStr, StrictBool
from typing_extensions import TypeAliasType

from multitenant.schemas.payload import (
    Absent,
    Answer,
    Email,
    GivenPassword,
    Headers,
    Id,
    Line,
    NewPassword,
    Payload,
)

SessionRole = TypeAliasType("SessionRole", Literal["operator", "owner", "admin", "member"])


class TenantHeader(Headers):
    """Another way to say which tenant is meant."""

    tenant_id: str | None = Field(
        None, alias="X-Tenant-Id", description="The tenant's id; nothing else may contradict it"
    )


class Login(Payload):
    """Credentials, and the tenant (id, subdomain or name) where the email has several."""

    example = {"email": "ann@acme.example", "password": "ann has a password"}

    email: Email
    password: GivenPassword
    tenant: Line | None = None
    use_cookies: StrictBool = False


class InvitationAcceptance(Payload):
    """An invited user's first password."""

    example = {"token": "<the invitationToken>", "password": "ben has a password"}

    token: Annotated[SecretStr, Field(min_length=1, max_length=4096)]
    password: NewPassword


class SessionAnswer(Answer):
    """Who has logged in. With `useCookies` the tokens are in cookies, and not here; then the values
    for `X-CSRF-TOKEN` are."""

    access_token: Annotated[str, Absent] = ""
    refresh_token: Annotated[str, Absent] = ""
    csrf_token: Annotated[str, Absent] = ""
    refresh_csrf_token: Annotated[str, Absent] = ""
    user_id: Id
    tenant_id: Id
    role: SessionRole


class AcceptedAnswer(Answer):
    """Who has accepted an invitation."""

    user_id: Id
