"""What is true of the tenants, and what each request must therefore be answered.

Written from the documentation (docs/api.md, docs/architecture.md), not from the code that it is
compared with. A tenant that is being changed has several states that count: any answer must be
right in one of them, and must never show anything of another tenant.
"""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from tests.faults.isolation.client import Answer, Request, Token

OPERATORS = "operators"
BASE_DOMAIN = "localhost"
SAFE = ("GET",)
MANAGERS = ("owner", "admin")
MAX_CANDIDATES = 5
"""An email in more tenants needs to say which."""
REFUSED_ANYWAY = {
    "active": None,
    "paused": None,
    "suspended": (403, "tenant_suspended"),
    "deleted": (401, "token_revoked"),
    "gone": (401, "token_revoked"),
}


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


@dataclass(slots=True)
class User:
    id: str
    email: str
    role: str
    status: str
    password: str | None
    version: int = 0
    void_below: int = 0
    """Tokens of lower versions are void, but those of the family that is `spared`."""
    spared: str | None = None
    invitation: str | None = None
    """The id of the open one."""

    def shown(self) -> dict[str, str]:
        return {"id": self.id, "email": self.email, "role": self.role, "status": self.status}

    def end_sessions(self, spared: str | None = None) -> None:
        self.version += 1
        self.void_below, self.spared = self.version, spared

    def is_void(self, token: Token) -> bool:
        return token.version < self.void_below and token.family != self.spared


@dataclass(slots=True)
class Tenant:
    """One tenant at one moment."""

    key: str
    mark: str
    """In everything that is written for it, and in nothing of another tenant."""
    name: str
    id: str = ""
    subdomain: str | None = None
    domains: list[str] | None = None
    status: str = "active"
    was_suspended: bool = False
    isolation: str = "shared"
    cluster: str = "default"
    modules: list[str] | None = None
    user_limit: int | None = None
    users: dict[str, User] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    """Families of tokens that were withdrawn."""
    used: set[str] = field(default_factory=set)
    """Refresh tokens that were used."""
    todos: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)

    def copy(self) -> "Tenant":
        return copy.deepcopy(self)

    @property
    def exists(self) -> bool:
        return self.status != "gone"

    def is_void(self, token: Token) -> bool:
        user = self.users.get(token.user_id)
        return token.family in self.ended or user is None or user.is_void(token)

    def refuses(self, request: Request) -> Refusal | None:
        if self.status == "paused":
            return None if request.method in SAFE else MAINTENANCE
        refused = REFUSED_ANYWAY[self.status]
        return Refusal(*refused) if refused else None

    def hosts(self) -> list[str]:
        """The host names that stand for it."""
        own = [f"{self.subdomain}.{BASE_DOMAIN}"] if self.subdomain else []
        return own + (self.domains or [])

    def names(self) -> tuple[str | None, ...]:
        """All that a login may call it, the strongest first."""
        return self.id, self.subdomain, self.name.casefold()

    def shown(self) -> dict[str, object]:
        return {
            "id": self.id,
            "name": self.name,
            "subdomain": self.subdomain,
            "domains": self.domains or [],
            "status": "active" if self.status == "paused" else self.status,
            "isolation": self.isolation,
            "cluster": self.cluster,
            "modules": self.modules,
            "userLimit": self.user_limit,
        }


View = Mapping[str, Tenant]
"""All tenants at one moment, by their keys."""


def contradicts(view: View, host: str | None, tenant_id: str) -> bool:
    """Whether the host name stands for another tenant, or for one that is not there; a domain that
    nobody has given to a tenant stands for none."""
    if host is None:
        return False
    owner = next((one for one in view.values() if one.exists and host in one.hosts()), None)
    if owner is None:
        return host.endswith(f".{BASE_DOMAIN}")
    return owner.id != tenant_id


def by_id(view: View, tenant_id: str) -> Tenant | None:
    return next((one for one in view.values() if one.id == tenant_id), None)


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
    if refusal := tenant.refuses(request):
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
    return tenant.refuses(request) or Success(200, lambda answer: _is_session(answer, tenant, user))


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


class Model:
    """All tenants as they are, every token that was ever issued, and whose each id is."""

    def __init__(self, operators: Tenant) -> None:
        self.tenants: dict[str, Tenant] = {OPERATORS: operators}
        self.tokens: dict[str, list[Token]] = {OPERATORS: []}
        self.owners_of_ids: dict[str, str] = {}
        self.options: dict[str, Sequence[Tenant]] = {}
        """The states that count of the tenants that are being changed, the latest first."""
        self.meanwhile: dict[str, dict[str, str]] = {}
        """The to-dos that are being added, of each tenant."""

    def made(self) -> list[str]:
        """The tenants that there are, or were."""
        return [key for key in self.tenants if key != OPERATORS]

    def key_of(self, token: Token) -> str:
        tenant = by_id(self.tenants, token.tenant_id)
        assert tenant, "a token of a tenant that was never made"
        return tenant.key

    def keep(self, *tokens: Token) -> None:
        for token in tokens:
            self.tokens.setdefault(self.key_of(token), []).append(token)

    def own(self, key: str, *ids: str) -> None:
        self.owners_of_ids |= dict.fromkeys(ids, key)

    def is_right(self, request: Request, answer: Answer, *, now: bool = False) -> bool:
        """Whether the answer is right in one of the states that count; `now`: in the latest."""
        views = [self.tenants] if now else list(self._views(request))
        added = self._added(request)
        refusals = [refused(view, request) for view in views]
        if any(refusal and _matches(refusal, answer) for refusal in refusals):
            return True
        return None in refusals and any(
            _matches(done(view, request, added), answer) for view in views
        )

    def expected(self, request: Request) -> Expected:
        """The answer, where nothing is being changed."""
        return refused(self.tenants, request) or done(self.tenants, request, {})

    def foreign(self, request: Request, answer: Answer) -> str | None:
        """What the answer has of another tenant than the one that asked (or has logged in)."""
        if request.token:
            key = self.key_of(request.token)
        elif answer.status == 200:
            key = self.owners_of_ids[answer.object["tenantId"]]
        else:
            key = ""
        ids = {id_ for id_ in answer.ids() if self.owners_of_ids.get(id_) != key}
        marks = {one.mark for one in self.tenants.values() if one.mark in answer.text}
        if ids or marks - {self.tenants[key].mark if key else None}:
            return f"{sorted(ids)} {sorted(marks)}"
        return None

    def _added(self, request: Request) -> Mapping[str, str]:
        if request.token is None:
            return {}
        return self.meanwhile.get(self.key_of(request.token), {})

    def _views(self, request: Request) -> Iterator[View]:
        """All combinations of the states that the request may have met, the latest first."""
        keys = [key for key in self.options if self._concerns(key, request)]
        for states in product(*(self.options[key] for key in keys)):
            yield {**self.tenants, **dict(zip(keys, states, strict=True))}

    def _concerns(self, key: str, request: Request) -> bool:
        if request.kind == "login" or request.host:
            return True
        return key == OPERATORS or bool(request.token and self.key_of(request.token) == key)


def _matches(expected: Expected, answer: Answer) -> bool:
    if isinstance(expected, Refusal):
        return (answer.status, answer.code) == (expected.status, expected.code)
    return answer.status == expected.status and expected.fits(answer)


def matches(expected: Expected | Iterable[Expected], answer: Answer) -> bool:
    """Whether the answer is (one of) what is expected."""
    many = expected if isinstance(expected, Iterable) else [expected]
    return any(_matches(one, answer) for one in many)
