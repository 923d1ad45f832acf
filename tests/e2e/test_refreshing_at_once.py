"""Browsers with several tabs, whose sessions are in cookies, at several workers: who refreshes at
once, or again because the answer was lost, goes on; who does so later is taken for a thief."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from multitenant.embedded import EmbeddedServer
from tests import plain_http
from tests.conftest import Client, FirstStarts, check_databases, variables_of
from tests.e2e.conftest import THREE_WORKERS
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.first_start import fresh_name
from tests.support import PASSWORD, eventually

pytestmark = pytest.mark.slow

Run = Callable[[list[Callable[[], Any]]], list[Any]]
TABS = 6


@dataclass
class Platform:
    """A server, and its admin database."""

    server: Server
    revocations: Any

    def used_long_ago(self) -> None:
        """Make all uses of refresh tokens older than any grace."""
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        query = {"reusableUntil": {"$exists": True}}
        self.revocations.update_many(query, {"$set": {"reusableUntil": long_ago}})


@dataclass
class Tab:
    """The cookies that a browser has at one time, and the CSRF values that the page has kept."""

    server: Server
    session: dict[str, str]
    cookies: dict[str, str]

    def send(self, method: str, path: str, csrf: str, json: Any = None) -> httpx.Response:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        headers = {"Cookie": cookie, "X-CSRF-TOKEN": csrf}
        return plain_http.request(method, f"{self.server.url}{path}", json=json, headers=headers)

    def refresh(self) -> httpx.Response:
        return self.send("POST", "/api/refresh", self.session["refreshCsrfToken"])

    def write(self) -> int:
        csrf = self.session["csrfToken"]
        return self.send("POST", "/api/to-do-list", csrf, {"title": "x"}).status_code

    def after(self, response: httpx.Response) -> "Tab":
        """The same page, when the browser has taken the cookies of the answer."""
        taken = {name: value for name, value in response.cookies.items() if value}
        return Tab(self.server, self.session, {**self.cookies, **taken})


@pytest.fixture(scope="module")
def platform(
    mongod: EmbeddedServer,
    mongo: Client,
    first_starts: FirstStarts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("tabs")
    with first_starts.borrow(mongod, mongo) as start:
        environment = variables_of(mongod.uri, fresh_name(), directory) | THREE_WORKERS
        environment |= {"ADMIN_DB_NAME": start.admin_db_name, "WORKER_CLASS": "gevent"}
        with Server(MULTITENANT_RUN, environment, directory) as server:
            server.wait_until_ready()
            yield Platform(server, mongo[start.admin_db_name]["revocations"])
        check_databases(mongo, environment)


def log_in(platform: Platform, name: str) -> Tab:
    """A new tenant's owner, logged in by cookies."""
    body = {"email": platform.server.add_tenant(name), "password": PASSWORD, "useCookies": True}
    response = plain_http.post(f"{platform.server.url}/api/login", json=body)
    return Tab(platform.server, response.json()["responseObject"], dict(response.cookies.items()))


def test_tabs_that_refresh_at_once_all_go_on_with_whatever_cookies_the_browser_has(
    platform: Platform, run_together: Run
) -> None:
    tab = log_in(platform, "Acme")
    responses = run_together([tab.refresh] * TABS)
    assert [response.status_code for response in responses] == [200] * TABS
    for response in responses:
        assert response.json()["responseObject"] == tab.session
        later = tab.after(response)
        assert later.write() == 201
        assert later.refresh().status_code == 200


def test_who_comes_again_after_the_grace_ends_the_session_for_all(
    platform: Platform, run_together: Run
) -> None:
    tab = log_in(platform, "Globex")
    responses = run_together([tab.refresh] * TABS)
    assert tab.refresh().status_code == 200, "its answer was lost"
    platform.used_long_ago()
    # The winners go on, and take no part in the theft.
    later = [tab.after(response) for response in responses]
    assert all(winner.write() == 201 for winner in later)
    late = run_together([tab.refresh] * TABS)
    for response in late:
        assert response.status_code == 401
        assert response.json()["responseObject"]["code"] == "token_revoked"
    for winner in later:
        assert winner.refresh().status_code == 401
    eventually(lambda: {winner.write() for winner in later} == {401})


def test_a_suspended_tenants_refresh_uses_nothing_up(platform: Platform, run_together: Run) -> None:
    tab = log_in(platform, "Initech")
    path = f"/api/tenants/{tab.session['tenantId']}"
    with platform.server.login() as operator:
        assert operator.post(f"{path}/suspend").status_code == 200
        for response in run_together([tab.refresh] * TABS):
            assert response.status_code == 403
            assert response.json()["responseObject"]["code"] == "tenant_suspended"
            assert "Set-Cookie" not in response.headers
        platform.used_long_ago()
        assert operator.post(f"{path}/activate").status_code == 200
    responses: list[httpx.Response] = []

    def all_are_answered() -> bool:
        """Some workers hear of it a moment later."""
        responses[:] = run_together([tab.refresh] * TABS)
        assert {response.status_code for response in responses} <= {200, 403}
        return all(response.status_code == 200 for response in responses)

    eventually(all_are_answered)
    assert all(tab.after(response).write() == 201 for response in responses)
