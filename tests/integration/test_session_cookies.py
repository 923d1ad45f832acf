"""Sessions in cookies: their names and domain, and cookies of the same name that a sibling host has
set ("cookie tossing")."""

from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from multitenant.config import load_settings
from multitenant.errors import ConfigurationError
from tests.conftest import MakeWorld
from tests.support import PASSWORD, User, World, answer, refusal

ACCESS, REFRESH = "access_token_cookie", "refresh_token_cookie"
CSRF, REFRESH_CSRF = "csrf_access_token", "csrf_refresh_token"
NAMES = {ACCESS, REFRESH, CSRF, REFRESH_CSRF}
PRODUCTION: dict[str, Any] = {
    "multitenant_env": "production",
    "bcrypt_rounds": 10,
    "base_domain": "saas.example",
    "operator_email": "operator@saas.example",
}
_numbers = iter(range(1_000_000))


@pytest.fixture
def owner(shared: World) -> User:
    number = next(_numbers)
    return shared.tenant(f"Tenant {number}", email=f"owner@t{number}.example")


def email_of(user: User) -> str:
    return str(answer(user.get("/api/users/me"))["email"])


def log_in(browser: FlaskClient, email: str, password: str = PASSWORD, **options: Any) -> Any:
    body = {"email": email, "password": password, "useCookies": True}
    response = browser.post("/api/login", json=body, **options)
    assert response.status_code == 200, response.text
    return response


def cookies_of(response: TestResponse) -> dict[str, dict[str, str]]:
    """The cookies that were set: the attributes of each by its name, its value among them."""
    found = {}
    for header in response.headers.getlist("Set-Cookie"):
        pair, *attributes = header.split("; ")
        name, value = pair.split("=", 1)
        parts = [attribute.partition("=") for attribute in attributes]
        found[name] = {"value": value, **{key: text for key, _, text in parts}}
    return found


def header(**cookies: str | list[str]) -> str:
    """A Cookie header; several of one name in their order."""
    lists = {name: [it] if isinstance(it, str) else it for name, it in cookies.items()}
    return "; ".join(f"{name}={value}" for name, values in lists.items() for value in values)


class TestCsrfValues:
    def test_the_answers_hold_them_and_they_stay_for_the_whole_session(
        self, shared: World, owner: User
    ) -> None:
        """A page of another host cannot read this host's cookies, and a second tab has the values
        of before the first one's refresh."""
        browser = shared.app.test_client()
        response = log_in(browser, email_of(owner))
        session, cookies = answer(response), cookies_of(response)
        assert session["csrfToken"] == cookies[CSRF]["value"]
        assert session["refreshCsrfToken"] == cookies[REFRESH_CSRF]["value"]
        assert session["csrfToken"] != session["refreshCsrfToken"]

        refusal(browser.post("/api/refresh"), 403, "csrf_failed")
        wrong = {"X-CSRF-TOKEN": session["csrfToken"]}
        refusal(browser.post("/api/refresh", headers=wrong), 403, "csrf_failed")
        right = {"X-CSRF-TOKEN": session["refreshCsrfToken"]}
        renewed = answer(browser.post("/api/refresh", headers=right))
        assert renewed == session
        headers = {"X-CSRF-TOKEN": session["csrfToken"]}
        body = {"title": "Buy milk"}
        assert browser.post("/api/to-do-list", json=body, headers=headers).status_code == 201
        assert browser.post("/api/refresh", headers=right).status_code == 200
        assert browser.post("/api/logout", headers=headers).status_code == 200
        refusal(browser.get("/api/users/me"), 401, "token_missing")

    def test_another_session_has_others_and_a_header_token_none(
        self, shared: World, owner: User
    ) -> None:
        sessions = [answer(log_in(shared.app.test_client(), email_of(owner))) for _ in range(2)]
        assert sessions[0]["csrfToken"] != sessions[1]["csrfToken"]
        body = {"email": email_of(owner), "password": PASSWORD}
        assert "csrfToken" not in answer(shared.client.post("/api/login", json=body))


class TestNames:
    def test_over_https_they_are_for_this_host_alone(self, make_world: MakeWorld) -> None:
        world = make_world(**PRODUCTION)
        world.tenant("Acme")
        https = {"base_url": "https://api.saas.example"}
        browser = world.app.test_client()
        response = log_in(browser, "owner@acme.example", **https)
        cookies = cookies_of(response)
        assert set(cookies) == {f"__Host-{name}" for name in NAMES}
        for cookie in cookies.values():
            assert cookie["Path"] == "/"
            assert cookie["SameSite"] == "Strict"
            assert "Secure" in cookie
            assert "Domain" not in cookie
        assert {name for name, cookie in cookies.items() if "HttpOnly" in cookie} == {
            f"__Host-{ACCESS}",
            f"__Host-{REFRESH}",
        }
        assert browser.get("/api/users/me", **https).status_code == 200
        headers = {"X-CSRF-TOKEN": answer(response)["refreshCsrfToken"]}
        assert browser.post("/api/refresh", headers=headers, **https).status_code == 200
        headers = {"X-CSRF-TOKEN": answer(response)["csrfToken"]}
        response = browser.post("/api/logout", headers=headers, **https)
        assert set(cookies_of(response)) == set(cookies)
        for cookie in cookies_of(response).values():
            assert (cookie["Max-Age"], cookie["Path"]) == ("0", "/")
            assert "Secure" in cookie
        refusal(browser.get("/api/users/me", **https), 401, "token_missing")

    def test_names_that_a_sibling_could_set_are_not_read_then(self, make_world: MakeWorld) -> None:
        """Those of the release before, too: their users log in once more."""
        world = make_world(**PRODUCTION)
        owner = world.tenant("Acme")
        cookie = header(**{ACCESS: owner.access, REFRESH: owner.refresh})
        for method, path in (("GET", "/api/users/me"), ("POST", "/api/refresh")):
            response = world.client.open(path, method=method, headers={"Cookie": cookie})
            refusal(response, 401, "token_missing")

    @pytest.mark.parametrize("production", [True, False])
    def test_with_a_cookie_domain_they_are_for_all_its_hosts(
        self, make_world: MakeWorld, production: bool
    ) -> None:
        world = make_world(**(PRODUCTION if production else {}), cookie_domain=".saas.example")
        world.tenant("Acme")
        https = {"base_url": "https://api.saas.example"}
        browser = world.app.test_client()
        response = log_in(browser, "owner@acme.example", **https)
        cookies = cookies_of(response)
        assert set(cookies) == NAMES
        assert all(cookie["Domain"] == "saas.example" for cookie in cookies.values())
        assert all(("Secure" in cookie) is production for cookie in cookies.values())
        assert cookies[REFRESH]["Path"] == "/api/refresh"
        assert cookies[REFRESH_CSRF]["Path"] == "/"
        headers = {"X-CSRF-TOKEN": answer(response)["refreshCsrfToken"]}
        renewed = browser.post("/api/refresh", headers=headers, **https)
        assert set(cookies_of(renewed)) == NAMES
        assert all(cookie["Domain"] == "saas.example" for cookie in cookies_of(renewed).values())
        headers = {"X-CSRF-TOKEN": answer(response)["csrfToken"]}
        removed = cookies_of(browser.post("/api/logout", headers=headers, **https))
        assert {cookie["Domain"] for cookie in removed.values()} == {"saas.example"}
        refusal(browser.get("/api/users/me", **https), 401, "token_missing")

    def test_a_tenants_host_elsewhere_has_cookies_of_its_own(self, make_world: MakeWorld) -> None:
        """A browser takes no cookie of a domain that its host is not in."""
        world = make_world(**PRODUCTION, cookie_domain="saas.example")
        owner = world.tenant("Acme")
        path = f"/api/tenants/{owner.tenant_id}"
        assert world.operator.patch(path, {"domains": ["app.acme.example"]}).status_code == 200
        theirs = {"base_url": "https://app.acme.example"}
        browser = world.app.test_client()
        response = log_in(browser, "owner@acme.example", **theirs)
        assert set(cookies_of(response)) == {f"__Host-{name}" for name in NAMES}
        assert browser.get("/api/users/me", **theirs).status_code == 200
        for base_url in ("https://localhost", "https://saas.example", "https://SAAS.example:8443"):
            response = log_in(world.app.test_client(), "owner@acme.example", base_url=base_url)
            assert set(cookies_of(response)) == NAMES, base_url

    @pytest.mark.parametrize(
        "domain", ["com", "localhost", "10.0.0.1", "a b.example", "a..b", "é.b"]
    )
    def test_what_is_no_domain_is_refused(self, domain: str) -> None:
        with pytest.raises(ConfigurationError, match="COOKIE_DOMAIN"):
            load_settings(
                {"MULTITENANT_ENV": "development", "COOKIE_DOMAIN": domain}, env_file=None
            )


class TestTossing:
    """Cookies of the same name, the sibling's first."""

    @pytest.mark.parametrize("kind", ["garbage", "expired", "withdrawn", "empty"])
    def test_what_opens_nothing_locks_nobody_out(
        self, shared: World, owner: User, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        browser = shared.app.test_client()
        cookies = cookies_of(log_in(browser, email_of(owner)))
        tossed = {ACCESS: "garbage", REFRESH: "a.b.c"}
        if kind == "empty":
            tossed = {ACCESS: "", REFRESH: ""}
        if kind == "withdrawn":
            ended = shared.login(email_of(owner))
            assert ended.post("/api/logout").status_code == 200
            tossed = {ACCESS: ended.access, REFRESH: ended.refresh}
        if kind == "expired":
            tokens = shared.platform.tokens
            now, email = shared.platform.connections.now(), email_of(owner)
            with monkeypatch.context() as patched:
                patched.setattr(tokens, "_now", lambda: now - 10**8)
                early = shared.login(email)
            tossed = {ACCESS: early.access, REFRESH: early.refresh}

        def send(method: str, path: str, name: str, csrf: str, **options: Any) -> Any:
            cookie = header(**{name: [tossed[name], cookies[name]["value"]]})
            headers = {"Cookie": cookie, "X-CSRF-TOKEN": cookies[csrf]["value"]}
            return shared.client.open(path, method=method, headers=headers, **options)

        assert send("GET", "/api/users/me", ACCESS, CSRF).status_code == 200
        body = {"title": "x"}
        assert send("POST", "/api/to-do-list", ACCESS, CSRF, json=body).status_code == 201
        assert send("POST", "/api/refresh", REFRESH, REFRESH_CSRF).status_code == 200
        assert send("POST", "/api/logout", ACCESS, CSRF).status_code == 200

    def test_the_csrf_value_says_whose_session_is_meant(self, shared: World, owner: User) -> None:
        """Of somebody else who is logged in, in another tenant."""
        other = shared.tenant(f"Other {owner.tenant_id}", email=f"x@{owner.tenant_id}.example")
        session = answer(log_in(shared.app.test_client(), email_of(owner)))
        ours = cookies_of(log_in(shared.app.test_client(), email_of(owner)))
        cookie = header(**{ACCESS: [other.access, ours[ACCESS]["value"]]})
        headers = {"Cookie": cookie, "X-CSRF-TOKEN": ours[CSRF]["value"]}
        me = answer(shared.client.get("/api/users/me", headers=headers))
        assert me["id"] == owner.user_id == session["userId"]
        headers["X-CSRF-TOKEN"] = session["csrfToken"]
        response = shared.client.post("/api/to-do-list", json={"title": "x"}, headers=headers)
        refusal(response, 403, "csrf_failed")

    def test_a_host_name_says_whose_session_is_meant(self, shared: World, owner: User) -> None:
        path = f"/api/tenants/{owner.tenant_id}"
        label = f"t{owner.tenant_id}"
        assert shared.operator.patch(path, {"subdomain": label}).status_code == 200
        other = shared.tenant(f"Other {owner.tenant_id}", email=f"x@{owner.tenant_id}.example")
        headers = {"Cookie": header(**{ACCESS: [other.access, owner.access]})}
        response = shared.client.get(
            "/api/users/me", headers=headers, base_url=f"http://{label}.localhost"
        )
        assert answer(response)["id"] == owner.user_id

    def test_an_older_cookie_of_the_same_session_is_not_used_again(
        self, make_world: MakeWorld
    ) -> None:
        """Where COOKIE_DOMAIN was changed, the browser sends those of the old domain as well: using
        them would be taken for theft."""
        world = make_world(refresh_grace_seconds=0)
        world.tenant("Acme")
        now = world.platform.connections.now()
        first = log_in(world.app.test_client(), "owner@acme.example")
        csrf = {"X-CSRF-TOKEN": answer(first)["refreshCsrfToken"]}
        tokens = [cookies_of(first)[REFRESH]["value"]]
        world.platform.tokens._now = lambda: now + 60
        for _ in range(3):
            headers = {**csrf, "Cookie": header(**{REFRESH: tokens})}
            response = world.client.post("/api/refresh", headers=headers)
            assert response.status_code == 200, response.text
            newer = cookies_of(response)[REFRESH]["value"]
            tokens = [tokens[0], newer]

    def test_an_expired_one_is_told_from_none(
        self, shared: World, owner: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """So that the page refreshes it."""
        now, email = shared.platform.connections.now(), email_of(owner)
        with monkeypatch.context() as patched:
            patched.setattr(shared.platform.tokens, "_now", lambda: now - 3600)
            early = shared.login(email)
        headers = {"Cookie": header(**{ACCESS: ["garbage", early.access]})}
        refusal(shared.client.get("/api/users/me", headers=headers), 401, "token_expired")
