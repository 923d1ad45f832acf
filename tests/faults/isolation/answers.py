"""What each request must be answered.

Written from the documentation (docs/api.md, docs/architecture.md), not from the code that it is
compared with."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from tests.faults.isolation.client import Answer, Request, Token
from tests.faults.isolation.states import OPERATORS, Tenant, User, View, by_id, contradicts

SAFE = ("GET",)
MANAGERS = ("owner", "admin")
MAX_CANDIDATES = 5
"""An email in more tenants needs to say which."""


@dataclass(frozen=True, slots=True)
class Refusal:
    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Success:
    status: int
    fits: Callable[[Answer], bool]


Expected = Refusal | Success
REVOKED = Refusal(401, "token_revoked")
INVALID_CREDENTIALS = Refusal(401, "credentials_invalid")
NOT_FOUND = Refusal(404, "not_found")
ROLE_REQUIRED = Refusal(403, "role_required")
MAINTENANCE = Refusal(503, "tenant_maintenance")
CONFLICT = Refusal(409, "conflict")
BY_STATUS = {
    "suspended": Refusal(403, "tenant_suspended"),
    "deleted": REVOKED,
    "gone": REVOKED,
}


def refused_by(tenant: Tenant, request: Request) -> Refusal | None:
    """What the tenant's status refuses."""
    if tenant.status == "paused":
        return None if request.method in SAFE else MAINTENANCE
    return BY_STATUS.get(tenant.status)


def refused(view: View, request: Request) -> Refusal | None:
    """What the request is refused before anything is done: token, hints, tenant, user, module,
    role. None where it is let through."""
    token = request.token
    if request.kind in ("login", "accept"):
        return None
    if token is None:
        return Refusal(401, "token_missing")
    return (
        _refused_token(view, request, token)
        or _refused_by_tenant(view, request, token)
        or _refused_role(request, token)
    )


def _refused_token(view: View, request: Request, token: Token) -> Refusal | None:
    if token.type != ("refresh" if request.kind == "refresh" else "access"):
        return Refusal(401, "token_invalid")
    if request.named is not None and request.named != token.tenant_id:
        return Refusal(403, "tenant_mismatch")
    if contradicts(view, request.host, token.tenant_id):
        return Refusal(403, "tenant_mismatch")
    return None


def _refused_by_tenant(view: View, request: Request, token: Token) -> Refusal | None:
    tenant = by_id(view, token.tenant_id)
    if tenant is None:
        return REVOKED
    if refusal := refused_by(tenant, request):
        return refusal
    if tenant.is_void(token) or token.operator_family in view[OPERATORS].ended:
        return REVOKED
    if "todo" in request.kind and tenant.modules is not None and "todos" not in tenant.modules:
        return Refusal(403, "module_disabled")
    return None


def _refused_role(request: Request, token: Token) -> Refusal | None:
    if token.role == "operator":
        return None
    wanted = {"operator": ("operator",), "manage": MANAGERS, "put_setting": MANAGERS}
    if token.role not in wanted.get(request.kind, (token.role,)):
        return ROLE_REQUIRED
    return None


def done(view: View, request: Request, meanwhile: Mapping[str, str]) -> Expected:
    """What the request is answered when it was let through. `meanwhile` has the to-dos that are
    being added to its tenant."""
    if request.kind == "login":
        return log_in(view, request)
    assert request.token
    tenant = by_id(view, request.token.tenant_id)
    if tenant is None or not tenant.exists:
        return REVOKED
    return _HANDLERS[request.kind](tenant, request, meanwhile)


def log_in(view: View, request: Request) -> Expected:
    """Whose account email and password open."""
    email, password = request.body["email"], request.body["password"]
    text = request.body.get("tenant")
    candidates = [
        (tenant, user)
        for tenant in sorted(view.values(), key=lambda one: one.id)
        for user in tenant.users.values()
        if user.email == email
        and tenant.status not in ("deleted", "gone")
        and request.named in (None, tenant.id)
        and not contradicts(view, request.host, tenant.id)
        and (text is None or text.casefold() in tenant.names())
    ]
    if len(candidates) > MAX_CANDIDATES:
        return Refusal(409, "tenant_required")
    fitting = [
        (tenant, user)
        for tenant, user in candidates
        if user.status == "active" and user.password == password
    ]
    if not fitting:
        return INVALID_CREDENTIALS
    if text is None and len(fitting) > 1:
        return Refusal(409, "tenant_required")
    if text is not None:
        fitting.sort(key=lambda one: one[0].names().index(text.casefold()))
    tenant, user = fitting[0]
    return refused_by(tenant, request) or Success(
        200, lambda answer: _is_session(answer, tenant, user)
    )


def _is_session(answer: Answer, tenant: Tenant, user: User) -> bool:
    told = answer.object
    about = (tenant.id, user.id, "operator" if tenant.key == OPERATORS else user.role)
    tokens = [Token.read(told["accessToken"]), Token.read(told["refreshToken"])]
    return (told["tenantId"], told["userId"], told["role"]) == about and all(
        (token.tenant_id, token.user_id, token.role, token.version) == (*about, user.version)
        for token in tokens
    )


def _me(tenant: Tenant, request: Request, _: Mapping[str, str]) -> Expected:
    assert request.token
    user = tenant.users.get(request.token.user_id)
    return Success(200, lambda answer: _shows(answer.object, user)) if user else REVOKED


def _user(tenant: Tenant, request: Request, _: Mapping[str, str]) -> Expected:
    user = tenant.users.get(request.about)
    return Success(200, lambda answer: _shows(answer.object, user)) if user else NOT_FOUND


def _users(tenant: Tenant, _: Request, __: Mapping[str, str]) -> Expected:
    def fits(answer: Answer) -> bool:
        items = {item["id"]: item for item in answer.object["items"]}
        return set(items) == set(tenant.users) and all(
            _shows(items[id_], user) for id_, user in tenant.users.items()
        )

    return Success(200, fits)


def _shows(shown: Mapping[str, str], user: User) -> bool:
    return {name: shown[name] for name in ("id", "email", "role", "status")} == user.shown()


def _todos(tenant: Tenant, _: Request, meanwhile: Mapping[str, str]) -> Expected:
    return Success(
        200, lambda answer: tenant.todos.items() <= _titles(answer) <= _all(tenant, meanwhile)
    )


def _some_todos(tenant: Tenant, _: Request, meanwhile: Mapping[str, str]) -> Expected:
    """A page that begins where another tenant's has ended."""
    return Success(200, lambda answer: _titles(answer) <= _all(tenant, meanwhile))


def _titles(answer: Answer) -> set[tuple[str, str]]:
    return {(item["id"], item["title"]) for item in answer.object["items"]}


def _all(tenant: Tenant, meanwhile: Mapping[str, str]) -> set[tuple[str, str]]:
    return {*tenant.todos.items(), *meanwhile.items()}


def _todo(tenant: Tenant, request: Request, meanwhile: Mapping[str, str]) -> Expected:
    title = tenant.todos.get(request.about) or meanwhile.get(request.about)
    if title is None:
        return NOT_FOUND
    return Success(200, lambda answer: answer.object["title"] == title)


def _add_todo(_: Tenant, request: Request, __: Mapping[str, str]) -> Expected:
    return Success(201, lambda answer: answer.object["title"] == request.body["title"])


def _setting(tenant: Tenant, request: Request, _: Mapping[str, str]) -> Expected:
    value = tenant.settings.get(request.about)
    if value is None:
        return NOT_FOUND
    return Success(200, lambda answer: answer.object["value"] == value)


def _put_setting(_: Tenant, request: Request, __: Mapping[str, str]) -> Expected:
    return Success(200, lambda answer: answer.object["value"] == request.body["value"])


def _settings(tenant: Tenant, _: Request, __: Mapping[str, str]) -> Expected:
    return Success(
        200,
        lambda answer: (
            {item["key"]: item["value"] for item in answer.object["items"]} == tenant.settings
        ),
    )


_HANDLERS: dict[str, Callable[[Tenant, Request, Mapping[str, str]], Expected]] = {
    "me": _me,
    "user": _user,
    "users": _users,
    "todos": _todos,
    "some_todos": _some_todos,
    "todo": _todo,
    "add_todo": _add_todo,
    "setting": _setting,
    "put_setting": _put_setting,
    "settings": _settings,
}


def is_as(expected: Expected, answer: Answer) -> bool:
    if isinstance(expected, Refusal):
        return (answer.status, answer.code) == (expected.status, expected.code)
    return answer.status == expected.status and expected.fits(answer)


def matches(expected: Expected | Iterable[Expected], answer: Answer) -> bool:
    """Whether the answer is (one of) what is expected."""
    many = expected if isinstance(expected, Iterable) else [expected]
    return any(is_as(one, answer) for one in many)
