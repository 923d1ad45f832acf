"""The hook that turns a token into a tenant's database: every refusal, and what is given back.
What is behind it are fakes, so that each step is seen by itself."""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from bson import ObjectId
from flask import Blueprint, Flask, g, request
from flask.testing import FlaskClient

from multitenant.errors import (
    DomainError,
    TokenExpired,
    TokenInvalid,
    TokenMissing,
    TokenRevoked,
)
from multitenant.extensions import NAME
from multitenant.logs import _context, clear_log_context
from multitenant.middleware import database_resolver, session_cookies
from multitenant.middleware.access import (
    in_module,
    operator_only,
    public,
    requires_role,
    with_refresh_token,
)
from multitenant.middleware.database_resolver import read_tokens
from multitenant.middleware.strict_json import StrictRequest
from multitenant.security.tokens import Claims, Impersonator
from multitenant.tenancy.deployments import write_permission
from multitenant.tenancy.deployments.isolation import _scope
from multitenant.tenancy.deployments.write_permission import ensure_write_permitted
from multitenant.tenancy.routing.host_names import NOBODY, NamedTenant
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.routing.tenant_concurrency import TenantConcurrency

USER, ACME, GLOBEX = (ObjectId(f"{number:023}a") for number in range(3))
BEARER = {"Authorization": "Bearer the-token"}
COOKIE = "access_token_cookie"
TENANT = Tenant(ACME, "Acme", None, (), "tenant_acme", "blue", "shared", "active", False)
CLAIMS = Claims("access", "id", "family", USER, ACME, "admin", 0, 1, 2, "the-csrf-value")


class FakeLease:
    """A lease, and what was done with it."""

    database = "the tenant's database"
    database_to_read = "the tenant's database, to read"

    def __init__(self, tenant: Tenant, meanwhile: Callable[[], object]) -> None:
        self.tenant = tenant
        self.meanwhile = meanwhile
        self.did: list[str] = []

    def wait_in_line(self) -> None:
        self.did.append("waited")
        self.meanwhile()

    def release(self) -> None:
        self.did.append("released")


@dataclass
class FakePlatform:
    """Whoever asks has a token that says what `claims` say. What is so by now may differ from what
    was so when the lease was taken. `meanwhile` is called while a request waits in line."""

    claims: Claims = CLAIMS
    tenant: Tenant = TENANT
    tenant_now: Tenant = TENANT
    host: NamedTenant = NOBODY
    withdrawn: bool = False
    withdrawn_now: bool = False
    expired: bool = False
    meanwhile: Callable[[], object] = lambda: None
    verified: list[tuple[str, str]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    leases: list[FakeLease] = field(default_factory=list)
    leased: list[ObjectId] = field(default_factory=list)
    checked: list[Claims] = field(default_factory=list)
    read: list[ObjectId] = field(default_factory=list)
    looked_up: list[ObjectId] = field(default_factory=list)
    checked_now: list[Claims] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.settings = SimpleNamespace(
            admin_db_name="the_admin_db", production=False, cookie_domain=""
        )
        self.concurrency = TenantConcurrency(1)
        self.tokens = self.connections = self.host_names = self.revocations = self

    def verify(self, token: str, token_type: str) -> Claims:
        self.verified.append((token, token_type))
        if self.expired:
            raise TokenExpired
        return self.claims

    def tenant_of(self, host: str) -> NamedTenant:
        self.hosts.append(host)
        return self.host

    def lease(self, tenant_id: ObjectId) -> FakeLease:
        self.leased.append(tenant_id)
        self.leases.append(FakeLease(self.tenant, self.meanwhile))
        return self.leases[-1]

    def ensure_valid(self, claims: Claims) -> None:
        self.checked.append(claims)
        if self.withdrawn:
            raise TokenRevoked

    def read_tenant(self, tenant_id: ObjectId) -> Tenant:
        self.read.append(tenant_id)
        return self.tenant_now

    def current_tenant(self, tenant_id: ObjectId) -> Tenant:
        self.looked_up.append(tenant_id)
        return self.tenant_now

    def ensure_valid_now(self, claims: Claims) -> None:
        self.checked_now.append(claims)
        if self.withdrawn_now:
            raise TokenRevoked


def seen() -> dict[str, Any]:
    """What a view finds in place."""
    user = g.get("user")
    return {
        "db": g.get("db"),
        "tenant": g.tenant.name if "tenant" in g else None,
        "user": [str(user.id), user.role] if user else None,
        "claims": g.claims.id if "claims" in g else None,
        "scope": sorted(_scope.get() or ()),
        "log": _context.get(),
    }


def make_app(platform: FakePlatform) -> Flask:
    app = Flask(__name__)
    app.request_class = StrictRequest
    app.extensions[NAME] = platform
    session_cookies.init_app(app)
    database_resolver.init_app(app)

    @app.errorhandler(DomainError)
    def refuse(error: DomainError) -> tuple[dict[str, Any], int]:
        refusal = {"code": error.code, "message": error.message}
        return {**refusal, "retryAfter": error.retry_after}, 400

    def view(path: str, mark: Any = lambda view: view) -> None:
        endpoint = path.strip("/")
        app.add_url_rule(path, endpoint, mark(lambda: seen()), methods=["GET", "POST"])

    view("/tenants")
    view("/public", public)
    view("/operators", operator_only)
    view("/refresh", with_refresh_token)
    view("/admins", requires_role("owner", "admin"))
    view("/owners", requires_role("owner", "superior"))
    app.add_url_rule(
        "/options", "options", lambda: seen(), methods=["OPTIONS"], provide_automatic_options=False
    )

    @app.route("/writes", methods=["GET", "POST"])
    def write() -> dict[str, Any]:
        ensure_write_permitted(request.args.get("database"))
        return seen()

    @app.get("/fails")
    def fail() -> str:
        raise ZeroDivisionError

    blueprint = in_module("todos", Blueprint("todos", __name__))
    blueprint.add_url_rule("/todos", "list", lambda: seen())
    app.register_blueprint(blueprint)
    return app


@pytest.fixture(autouse=True)
def _log_is_clear() -> Iterator[None]:
    clear_log_context()
    yield
    clear_log_context()


@pytest.fixture
def platform() -> FakePlatform:
    return FakePlatform()


@pytest.fixture
def client(platform: FakePlatform) -> FlaskClient:
    return make_app(platform).test_client()


def code(response: Any) -> str | None:
    found: str | None = response.get_json().get("code")
    return found


class TestAdmitted:
    def test_the_view_has_the_tenants_database_and_is_alone_in_it(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        assert client.get("/tenants", headers=BEARER).get_json() == {
            "db": "the tenant's database, to read",
            "tenant": "Acme",
            "user": [str(USER), "admin"],
            "claims": "id",
            "scope": ["tenant_acme", "the_admin_db"],
            "log": {"tenantId": str(ACME), "userId": str(USER)},
        }
        assert platform.verified == [("the-token", "access")]
        assert platform.leased == [ACME]
        assert platform.checked == [CLAIMS]

    @pytest.mark.parametrize(
        ("method", "path", "database"),
        [
            ("GET", "/tenants", FakeLease.database_to_read),
            ("OPTIONS", "/options", FakeLease.database_to_read),
            ("POST", "/tenants", FakeLease.database),
        ],
    )
    def test_only_reading_is_content_with_a_database_that_was_looked_at_a_while_ago(
        self, client: FlaskClient, method: str, path: str, database: str
    ) -> None:
        response = client.open(path, method=method, headers=BEARER)
        assert response.get_json()["db"] == database

    def test_nothing_is_held_afterwards(self, client: FlaskClient, platform: FakePlatform) -> None:
        for _ in range(2):  # the limit is one
            assert client.get("/tenants", headers=BEARER).status_code == 200
            assert platform.leases[-1].did == ["waited", "released"]
            assert _scope.get() is None
        assert platform.concurrency._in_flight == {}

    def test_nothing_is_held_after_a_view_that_failed(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        client.application.config["PROPAGATE_EXCEPTIONS"] = False
        assert client.get("/fails", headers=BEARER).status_code == 500
        assert platform.leases[-1].did == ["waited", "released"]
        assert platform.concurrency._in_flight == {}
        assert _scope.get() is None

    def test_nothing_is_held_after_a_refusal(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.withdrawn = True
        assert code(client.get("/tenants", headers=BEARER)) == "token_revoked"
        assert platform.leases[-1].did == ["released"]
        assert platform.concurrency._in_flight == {}

    def test_a_lease_that_is_refused_leaves_no_count(
        self, client: FlaskClient, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: ObjectId) -> None:
            raise TokenRevoked

        monkeypatch.setattr(platform, "lease", refuse)
        for _ in range(2):
            assert code(client.get("/tenants", headers=BEARER)) == "token_revoked"

    def test_one_request_more_than_a_tenant_may_have_is_refused(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.concurrency.enter(ACME)
        assert code(client.get("/tenants", headers=BEARER)) == "tenant_busy"
        assert platform.leases == []
        assert platform.concurrency._in_flight == {ACME: 1}, "it gives back what is its own"

    def test_only_reading_waits_in_line(self, client: FlaskClient, platform: FakePlatform) -> None:
        """A body may be slow to come."""
        client.post("/tenants", headers=BEARER)
        assert platform.leases[-1].did == ["released"]
        client.head("/tenants", headers=BEARER)
        assert platform.leases[-1].did == ["waited", "released"]
        platform.claims = replace(CLAIMS, role="operator")
        platform.tenant = replace(TENANT, system=True)
        client.get("/operators", headers=BEARER)
        assert platform.leases[-1].did == ["released"], "operators ask many databases"

    def test_the_log_says_who_acts_as_the_user(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        operator = ObjectId()
        platform.claims = replace(CLAIMS, impersonator=Impersonator(operator, ObjectId(), "f", 0))
        assert client.get("/tenants", headers=BEARER).get_json()["log"] == {
            "tenantId": str(ACME),
            "userId": str(USER),
            "impersonatorId": str(operator),
        }


class SlowBody(io.BytesIO):
    """A body of two bytes, during which something else happens."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__(b"{}")
        self._meanwhile = meanwhile

    def readinto(self, buffer: Any) -> int:
        self._meanwhile()
        return super().readinto(buffer)


class TestWhileTheBodyComes:
    @staticmethod
    def send(client: FlaskClient, meanwhile: Callable[[], object], **headers: str) -> Any:
        return client.post(
            "/tenants",
            headers={**BEARER, "Content-Length": "2", **headers},
            input_stream=SlowBody(meanwhile),
        )

    def test_the_request_counts_and_holds_no_lease(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        held: list[Any] = []
        look = lambda: held.append((dict(platform.concurrency._in_flight), platform.leased[:]))  # noqa: E731
        assert code(self.send(client, look)) is None
        assert held
        assert all(state == ({ACME: 1}, []) for state in held)
        assert platform.leased == [ACME]
        assert platform.verified == [("the-token", "access")] * 2

    def test_a_token_that_expires_is_refused(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        response = self.send(client, lambda: setattr(platform, "expired", True))
        assert code(response) == "token_expired"
        assert platform.leased == []
        assert platform.concurrency._in_flight == {}

    def test_what_is_withdrawn_refuses_it(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        response = self.send(client, lambda: setattr(platform, "withdrawn", True))
        assert code(response) == "token_revoked"

    def test_who_is_refused_before_is_not_waited_for(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        waited: list[None] = []
        response = self.send(client, lambda: waited.append(None), **{"X-Tenant-Id": str(GLOBEX)})
        assert code(response) == "tenant_mismatch"
        platform.concurrency.enter(ACME)
        assert code(self.send(client, lambda: waited.append(None))) == "tenant_busy"
        assert waited == []


class TestBeforeAWrite:
    """What was withdrawn between the check of a request and its write."""

    @pytest.fixture
    def _late(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Every check was long ago."""
        monkeypatch.setattr(write_permission, "RECHECK_SECONDS", -1.0)

    def test_a_quick_request_is_checked_once(
        self, client: FlaskClient, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(write_permission, "RECHECK_SECONDS", 3600)
        platform.withdrawn_now = True
        assert code(client.post("/writes", headers=BEARER)) is None
        assert code(client.get("/tenants", headers=BEARER)) is None
        assert platform.read == platform.looked_up == platform.checked_now == []
        assert platform.checked == [CLAIMS, CLAIMS]

    @pytest.mark.usefixtures("_late")
    @pytest.mark.parametrize("query", ["", "?database=tenant_acme"])
    def test_all_is_checked_as_it_is_by_then(
        self, client: FlaskClient, platform: FakePlatform, query: str
    ) -> None:
        response = client.post(f"/writes{query}", headers=BEARER)
        assert response.get_json()["db"] == "the tenant's database"
        assert platform.verified == [("the-token", "access")] * 3, "its body came in between"
        assert (platform.read, platform.looked_up) == ([ACME], [])
        assert (platform.checked, platform.checked_now) == ([CLAIMS], [CLAIMS])

    @pytest.mark.usefixtures("_late")
    def test_another_tenants_database_is_not_what_it_is_about(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.withdrawn_now = True
        assert code(client.post("/writes?database=tenant_globex", headers=BEARER)) is None
        assert platform.read == []

    @pytest.mark.usefixtures("_late")
    @pytest.mark.parametrize(
        ("changes", "refusal", "retry_after"),
        [
            ({"db_name": "tenant_acme_2"}, "tenant_maintenance", 1),
            ({"cluster": "green"}, "tenant_maintenance", 1),
            ({"cluster": "green", "status": "suspended"}, "tenant_maintenance", 1),
            ({"status": "suspended"}, "tenant_suspended", None),
            ({"status": "deleted"}, "token_revoked", None),
            ({"status": "maintenance"}, "tenant_maintenance", 5),
            ({"status": "maintenance", "read_only": True}, "tenant_maintenance", 1),
            ({"system": True}, "token_invalid", None),
            ({"name": "Acme 2", "isolation": "dedicated"}, None, None),
        ],
    )
    def test_a_tenant_that_has_changed(
        self,
        client: FlaskClient,
        platform: FakePlatform,
        changes: dict[str, Any],
        refusal: str | None,
        retry_after: int | None,
    ) -> None:
        platform.tenant_now = replace(TENANT, **changes)
        response = client.post("/writes", headers=BEARER)
        assert code(response) == refusal
        assert response.get_json().get("retryAfter") == retry_after

    @pytest.mark.usefixtures("_late")
    def test_a_tenant_that_has_moved_says_so(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.tenant_now = replace(TENANT, cluster="green")
        message = client.post("/writes", headers=BEARER).get_json()["message"]
        assert message == "This tenant has just moved; try again"

    @pytest.mark.usefixtures("_late")
    def test_a_token_that_was_withdrawn(self, client: FlaskClient, platform: FakePlatform) -> None:
        platform.withdrawn_now = True
        assert code(client.post("/writes", headers=BEARER)) == "token_revoked"

    @pytest.mark.usefixtures("_late")
    def test_a_token_that_has_expired(
        self, client: FlaskClient, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the lease, which nothing delays otherwise."""
        lease = platform.lease

        def lease_slowly(tenant_id: ObjectId) -> FakeLease:
            platform.expired = True
            return lease(tenant_id)

        monkeypatch.setattr(platform, "lease", lease_slowly)
        assert code(client.post("/writes", headers=BEARER)) == "token_expired"
        assert platform.leases[-1].did == ["released"]

    @pytest.mark.usefixtures("_late")
    def test_a_module_that_is_gone(self, client: FlaskClient, platform: FakePlatform) -> None:
        platform.tenant_now = replace(TENANT, modules=frozenset({"orders"}))
        assert code(client.get("/todos", headers=BEARER)) == "module_disabled"
        assert code(client.post("/writes", headers=BEARER)) is None

    @pytest.mark.usefixtures("_late")
    def test_reading_is_checked_again_after_its_wait_in_line_by_what_is_known(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.tenant_now = replace(TENANT, status="maintenance", read_only=True)
        platform.withdrawn_now = True
        assert code(client.get("/tenants", headers=BEARER)) is None
        assert (platform.read, platform.looked_up) == ([], [ACME])
        assert (platform.checked, platform.checked_now) == ([CLAIMS, CLAIMS], [])
        assert platform.verified == [("the-token", "access")] * 2

    @pytest.mark.usefixtures("_late")
    @pytest.mark.parametrize(
        ("change", "refusal"),
        [
            ({"withdrawn": True}, "token_revoked"),
            ({"expired": True}, "token_expired"),
            ({"tenant_now": replace(TENANT, cluster="green")}, "tenant_maintenance"),
            ({"tenant_now": replace(TENANT, status="suspended")}, "tenant_suspended"),
        ],
    )
    def test_what_is_withdrawn_while_reading_waits_in_line_refuses_it(
        self,
        client: FlaskClient,
        platform: FakePlatform,
        change: dict[str, Any],
        refusal: str,
    ) -> None:
        platform.meanwhile = lambda: vars(platform).update(change)
        assert code(client.get("/tenants", headers=BEARER)) == refusal
        assert platform.leases[-1].did == ["waited", "released"]

    @pytest.mark.usefixtures("_late")
    def test_operators_do_not_wait_and_are_not_checked_again_for_it(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.claims = replace(CLAIMS, role="operator")
        platform.tenant = platform.tenant_now = replace(TENANT, system=True)
        assert code(client.get("/operators", headers=BEARER)) is None
        assert platform.read == platform.looked_up == []

    @pytest.mark.usefixtures("_late")
    def test_nothing_is_checked_after_the_request(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        client.post("/tenants", headers=BEARER)
        platform.withdrawn_now = True
        ensure_write_permitted()
        ensure_write_permitted("tenant_acme")
        assert write_permission._permission.get() is None
        assert platform.read == platform.looked_up == []

    @pytest.mark.usefixtures("_late")
    def test_a_check_sees_nothing_of_the_writes_own_context(
        self, client: FlaskClient, platform: FakePlatform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A transaction would show it what was so when that began."""
        scopes: list[object] = []
        monkeypatch.setattr(platform, "ensure_valid_now", lambda _: scopes.append(_scope.get()))
        client.post("/writes", headers=BEARER)
        assert scopes == [None]


class TestWithoutAToken:
    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_a_public_view_is_reached_and_may_use_the_admin_database_alone(
        self, client: FlaskClient, platform: FakePlatform, method: str
    ) -> None:
        found = client.open("/public", method=method).get_json()
        assert (found["db"], found["user"], found["scope"]) == (None, None, ["the_admin_db"])
        assert not platform.verified
        assert not platform.leases
        assert _scope.get() is None

    @pytest.mark.parametrize(
        "path", ["/tenants", "/operators", "/refresh", "/admins", "/todos", "/fails"]
    )
    def test_no_other_view_is_reached(self, client: FlaskClient, path: str) -> None:
        assert code(client.get(path)) == "token_missing"

    def test_what_reaches_no_view_is_answered_as_such(self, client: FlaskClient) -> None:
        assert client.get("/nowhere").status_code == 404
        assert client.delete("/tenants").status_code == 405
        assert client.options("/tenants").status_code == 200

    def test_a_view_of_ours_for_options_is_protected_like_others(self, client: FlaskClient) -> None:
        assert code(client.options("/options")) == "token_missing"
        assert client.options("/options", headers=BEARER).get_json()["tenant"] == "Acme"


class TestRefused:
    @pytest.mark.parametrize(
        ("role", "system", "path", "expected"),
        [
            ("admin", False, "/operators", "role_required"),
            ("operator", True, "/operators", None),
            ("operator", True, "/tenants", None),
            ("admin", False, "/admins", None),
            ("owner", False, "/owners", None),
            ("admin", False, "/owners", "role_required"),
            ("operator", True, "/owners", None),
            # A token whose role does not fit the tenant is none of ours.
            ("operator", False, "/tenants", "token_invalid"),
            ("admin", True, "/tenants", "token_invalid"),
        ],
    )
    def test_roles(
        self,
        client: FlaskClient,
        platform: FakePlatform,
        role: str,
        system: bool,
        path: str,
        expected: str | None,
    ) -> None:
        platform.claims = replace(CLAIMS, role=role)
        platform.tenant = replace(TENANT, system=system)
        assert code(client.get(path, headers=BEARER)) == expected

    @pytest.mark.parametrize(
        ("path", "message"),
        [
            ("/operators", "Only operators may do this"),
            ("/owners", "Only these roles may do this: owner, superior"),
        ],
    )
    def test_a_role_that_lacks_is_named(self, client: FlaskClient, path: str, message: str) -> None:
        assert client.get(path, headers=BEARER).get_json()["message"] == message

    def test_a_module_that_was_not_bought(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        assert code(client.get("/todos", headers=BEARER)) is None
        platform.tenant = replace(TENANT, modules=frozenset({"orders"}))
        assert code(client.get("/todos", headers=BEARER)) == "module_disabled"
        assert code(client.get("/tenants", headers=BEARER)) is None

    def test_a_tenant_that_may_only_be_read(
        self, client: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.tenant = replace(TENANT, status="maintenance", read_only=True)
        assert code(client.get("/tenants", headers=BEARER)) is None
        assert code(client.post("/tenants", headers=BEARER)) == "tenant_maintenance"

    @pytest.mark.parametrize(
        ("hint", "expected"),
        [
            (str(ACME), None),
            (str(ACME).upper(), None),
            (str(GLOBEX), "tenant_mismatch"),
            ("", "tenant_mismatch"),
        ],
    )
    def test_a_header_that_names_another_tenant(
        self, client: FlaskClient, platform: FakePlatform, hint: str, expected: str | None
    ) -> None:
        response = client.get("/tenants", headers={**BEARER, "X-Tenant-Id": hint})
        assert code(response) == expected
        assert bool(platform.leases) is (expected is None)

    @pytest.mark.parametrize(
        ("named", "expected"),
        [
            (NamedTenant(True, ACME), None),
            (NamedTenant(True, GLOBEX), "tenant_mismatch"),
            (NamedTenant(True, None), "tenant_mismatch"),
            (NOBODY, None),
        ],
    )
    def test_a_host_that_names_another_tenant(
        self,
        client: FlaskClient,
        platform: FakePlatform,
        named: NamedTenant,
        expected: str | None,
    ) -> None:
        platform.host = named
        response = client.get("/tenants", headers=BEARER, base_url="http://acme.example:5000")
        assert code(response) == expected
        assert platform.hosts == ["acme.example:5000"]


class TestCookies:
    @pytest.fixture
    def browser(self, client: FlaskClient) -> FlaskClient:
        client.set_cookie("access_token_cookie", "cookie-token")
        client.set_cookie("refresh_token_cookie", "refresh-token")
        return client

    def test_each_kind_of_token_has_its_cookie(
        self, browser: FlaskClient, platform: FakePlatform
    ) -> None:
        browser.get("/tenants")
        browser.get("/refresh")
        assert platform.verified == [("cookie-token", "access"), ("refresh-token", "refresh")]

    @pytest.mark.parametrize(
        ("sent", "expected"),
        [
            ("the-csrf-value", None),
            ("another", "csrf_failed"),
            ("", "csrf_failed"),
            (None, "csrf_failed"),
        ],
    )
    def test_a_change_needs_the_csrf_value(
        self, browser: FlaskClient, sent: str | None, expected: str | None
    ) -> None:
        headers = {} if sent is None else {"X-CSRF-TOKEN": sent}
        response = browser.post("/tenants", headers=headers)
        assert code(response) == expected
        if expected:
            assert "csrf_access_token cookie in the X-CSRF-TOKEN" in response.get_json()["message"]

    def test_a_token_without_a_csrf_value_changes_nothing_by_cookie(
        self, browser: FlaskClient, platform: FakePlatform
    ) -> None:
        platform.claims = replace(CLAIMS, csrf="")
        for headers in ({}, {"X-CSRF-TOKEN": ""}):
            assert code(browser.post("/tenants", headers=headers)) == "csrf_failed"

    def test_reading_needs_none_nor_does_a_token_in_a_header(self, browser: FlaskClient) -> None:
        for method in ("GET", "HEAD"):
            assert browser.open("/tenants", method=method).status_code == 200
        assert browser.options("/options").status_code == 200
        assert code(browser.post("/tenants", headers=BEARER)) is None


class TestReadingTheToken:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            ({"Authorization": "Bearer a"}, (["a"], False)),
            ({"Authorization": "bEARER   a  "}, (["a"], False)),
            ({"Authorization": "Bearer a b"}, (["a b"], False)),
            ({"Authorization": "Bearer a", "jwt": "b"}, (["a"], False)),
            ({"jwt": " b ", "Cookie": "access_token_cookie=c"}, (["b"], False)),
            ({"jwt": " ", "Cookie": "access_token_cookie=c"}, (["c"], True)),
            ({"Authorization": "", "Cookie": "access_token_cookie=c"}, (["c"], True)),
            ({"Cookie": f"{COOKIE}=c; {COOKIE}=d; {COOKIE}=; {COOKIE}=c"}, (["c", "d"], True)),
        ],
    )
    def test_the_places_where_it_may_be(
        self, headers: dict[str, str], expected: tuple[list[str], bool]
    ) -> None:
        with make_app(FakePlatform()).test_request_context(headers=headers):
            assert read_tokens(request, "access") == expected

    @pytest.mark.parametrize("header", ["Basic a", "Bearer", "Bearer ", "a"])
    def test_an_authorization_of_another_form(self, header: str) -> None:
        headers = {"Authorization": header, "jwt": "b"}
        with (
            make_app(FakePlatform()).test_request_context(headers=headers),
            pytest.raises(TokenInvalid, match="must be 'Bearer <token>'"),
        ):
            read_tokens(request, "access")

    @pytest.mark.parametrize("cookie", ["", "refresh_token_cookie=c", "access_token_cookie="])
    def test_none_at_all(self, cookie: str) -> None:
        with (
            make_app(FakePlatform()).test_request_context(headers={"Cookie": cookie}),
            pytest.raises(TokenMissing),
        ):
            read_tokens(request, "access")
