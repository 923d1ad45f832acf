"""What operators do to tenants: the request, the answer that it must have, and what is true then.

Each is one `Change` of one tenant. Made while nothing of that tenant is being changed, it knows
its answer beforehand."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.faults.isolation.answers import (
    CONFLICT,
    NOT_FOUND,
    Expected,
    Refusal,
    Success,
    matches,
)
from tests.faults.isolation.client import Answer, Request, Token
from tests.faults.isolation.model import Model
from tests.faults.isolation.states import Tenant, User

TRANSITIONS = {
    "suspend": ("POST", "/suspend", ("active",), "suspended"),
    "activate": ("POST", "/activate", ("suspended",), "active"),
    "delete": ("DELETE", "", ("active", "suspended"), "deleted"),
    "restore": ("POST", "/restore", ("deleted",), "active"),
}
NAMES = ("name", "subdomain", "domains")
"""No two tenants have the same."""
ANYTHING = Success(200, lambda _: True)


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is done to the tenant `key`."""

    key: str
    what: str
    act: Callable[[], Any]
    """Does it, and returns the answer."""
    finish: Callable[[Any], Sequence[Tenant]]
    """Given the answer, returns the states that the tenant then goes through, the last first;
    none where nothing changes. Fails for a wrong answer."""
    takes_names: bool = False
    """Whether another one that does so at the same time could be in its way."""


Send = Callable[[Request], Answer]
Effect = Callable[[Tenant, Answer], None]


def nothing(_: Tenant, __: Answer) -> None:
    """Has no effect."""


def by_request(
    model: Model,
    send: Send,
    key: str,
    request: Request,
    expected: Expected | Iterable[Expected],
    effect: Effect = nothing,
    *,
    takes_names: bool = False,
) -> Change:
    """A change that one request makes, with this effect where it succeeds."""

    def finish(answer: Answer) -> Sequence[Tenant]:
        assert matches(expected, answer), f"{request} was answered {answer}, not {expected}"
        if answer.status >= 400:
            return []
        after = model.tenants[key].copy()
        effect(after, answer)
        return [after]

    return Change(key, str(request), lambda: send(request), finish, takes_names)


class Operator:
    """Makes the changes that operators make."""

    def __init__(self, model: Model, send: Send, token: Token) -> None:
        self._model = model
        self._send = send
        self.token = token

    def add(self, tenant: Tenant, email: str, password: str | None) -> Change | None:
        """Add the tenant, with its owner; None where its name or subdomain is taken, which is
        answered so."""
        body = {
            "name": tenant.name,
            "email": email,
            "password": password,
            "subdomain": tenant.subdomain,
            "isolation": tenant.isolation,
            "cluster": tenant.cluster,
            "modules": tenant.modules,
            "userLimit": tenant.user_limit,
        }
        sent = {name: value for name, value in body.items() if value is not None}
        request = self._request("POST", "/api/add", sent)
        if self._taken(tenant, name=tenant.name, subdomain=tenant.subdomain):
            answer = self._send(request)
            assert matches(Refusal(409, "already_exists"), answer), f"{request}: {answer}"
            return None
        model = self._model

        def finish(answer: Answer) -> Sequence[Tenant]:
            assert answer.status == 201, f"{request} was answered {answer}"
            told = answer.object
            after = tenant.copy()
            after.id = told["tenantId"]
            after.users[told["userId"]] = User(
                told["userId"],
                email,
                "owner",
                "active" if password else "invited",
                password,
            )
            model.tenants[tenant.key] = after
            model.own(tenant.key, after.id, told["userId"])
            assert ("invitationToken" in told) == (password is None)
            if password is None:
                invitation = Token.read(told["invitationToken"])
                after.users[told["userId"]].invitation = invitation.id
                model.keep(invitation)
            return [after]

        return Change(tenant.key, f"add {tenant.key}", lambda: self._send(request), finish, True)

    def change(self, key: str, field: str, value: Any) -> Change:
        """PATCH a field of the tenant's record."""
        tenant = self._model.tenants[key]

        def effect(after: Tenant) -> None:
            setattr(after, "user_limit" if field == "userLimit" else field, value)

        expected: Expected = self._shown(tenant, effect)
        if self._taken(tenant, **({field: value} if field in NAMES else {})):
            expected = Refusal(409, "already_exists")
        request = self._request("PATCH", f"/api/tenants/{tenant.id}", {field: value})
        return self._on(
            key, request, expected, lambda after, _: effect(after), takes_names=field in NAMES
        )

    def rotate(self, key: str) -> Change:
        tenant = self._model.tenants[key]
        expected: Expected = self._shown(tenant, lambda _: None)
        if tenant.isolation == "shared":
            expected = CONFLICT
        path = f"/api/tenants/{tenant.id}/rotate-credentials"
        return self._on(key, self._request("POST", path), expected)

    def transition(self, key: str, action: str) -> Change:
        """Suspend, activate, delete, restore."""
        tenant = self._model.tenants[key]
        method, path, starts, target = TRANSITIONS[action]

        def effect(after: Tenant) -> None:
            if tenant.status not in starts:
                return
            after.status = "suspended" if action == "restore" and tenant.was_suspended else target
            if action in ("suspend", "activate"):
                after.was_suspended = action == "suspend"

        expected: Expected = self._shown(tenant, effect)
        if tenant.status not in starts and not (tenant.status == target or action == "restore"):
            expected = CONFLICT
        request = self._request(method, f"/api/tenants/{tenant.id}{path}")
        return self._on(key, request, expected, lambda after, _: effect(after))

    def purge(self, key: str, *, confirmed: bool) -> Change:
        tenant = self._model.tenants[key]
        body = {"confirm": tenant.name if confirmed else f"not {tenant.name}"}
        request = self._request("POST", f"/api/tenants/{tenant.id}/purge", body)
        expected: Expected = Success(200, lambda answer: all(answer.object["gone"].values()))
        if tenant.status != "deleted":
            expected = CONFLICT
        elif not confirmed:
            expected = Refusal(422, "validation_failed")

        def effect(after: Tenant, _: Answer) -> None:
            after.status = "gone"
            after.users.clear()

        return self._on(key, request, expected, effect)

    def impersonate(self, key: str, user_id: str, operator: Token) -> Change:
        """Get a token of the user's, with the operator's session `operator`."""
        tenant = self._model.tenants[key]
        user = tenant.users.get(user_id)
        request = Request(
            kind="operator",
            method="POST",
            path=f"/api/tenants/{tenant.id}/impersonate",
            token=operator,
            body={"userId": user_id, "reason": "to see what they see"},
        )
        expected: Expected = CONFLICT
        if operator.family in self._model.tenants["operators"].ended:
            expected = Refusal(401, "token_revoked")
        elif tenant.status == "suspended":
            expected = Refusal(403, "tenant_suspended")
        elif tenant.status == "active":
            expected = NOT_FOUND
            if user:
                expected = ANYTHING if user.status == "active" else CONFLICT

        def effect(_: Tenant, answer: Answer) -> None:
            token = Token.read(answer.object["accessToken"])
            assert user
            about = (token.tenant_id, token.user_id, token.role, token.version)
            assert about == (tenant.id, user.id, user.role, user.version)
            assert token.operator_family == operator.family
            self._model.keep(token)

        if not tenant.exists and expected == CONFLICT:
            expected = NOT_FOUND
        return by_request(self._model, self._send, key, request, expected, effect)

    def _on(
        self,
        key: str,
        request: Request,
        expected: Expected,
        effect: Effect = nothing,
        *,
        takes_names: bool = False,
    ) -> Change:
        if not self._model.tenants[key].exists:
            expected = NOT_FOUND
        return by_request(
            self._model, self._send, key, request, expected, effect, takes_names=takes_names
        )

    def _request(self, method: str, path: str, body: Any = None) -> Request:
        return Request(kind="operator", method=method, path=path, token=self.token, body=body)

    def _shown(self, tenant: Tenant, effect: Callable[[Tenant], None]) -> Success:
        """The answer that shows the tenant as it is then."""
        after = tenant.copy()
        effect(after)
        wanted = after.shown()
        return Success(
            200, lambda answer: {name: answer.object.get(name) for name in wanted} == wanted
        )

    def _taken(
        self,
        tenant: Tenant,
        *,
        name: str | None = None,
        subdomain: str | None = None,
        domains: list[str] | None = None,
    ) -> bool:
        return any(
            (name is not None and other.name.casefold() == name.casefold())
            or (subdomain is not None and other.subdomain == subdomain)
            or set(domains or []) & set(other.domains or [])
            for other in self._model.tenants.values()
            if other.key != tenant.key and other.exists
        )
