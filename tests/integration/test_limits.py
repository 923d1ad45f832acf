"""Limits: logins per address and email, requests of one tenant in flight; CORS; proxies."""

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.model import MongoDatabase
from multitenant.schemas.paging import PageQuery
from multitenant.services.tenant import todos as service
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import PASSWORD, World, answer, refusal

Client = MongoClient[dict[str, Any]]


def try_login(
    world: World, email: str, password: str = "wrong password", address: str = "203.0.113.7"
) -> Any:
    return world.client.post(
        "/api/login",
        json={"email": email, "password": password},
        environ_base={"REMOTE_ADDR": address},
    )


class TestLogins:
    """LOGIN_RATE_LIMIT."""

    def test_of_one_email_from_many_addresses_are_limited(self, make_world: MakeWorld) -> None:
        world = make_world(login_rate_limit="5 per minute")
        world.add(name="Acme", email="owner@acme.example", password=PASSWORD)
        for number in range(5):
            response = try_login(world, "owner@acme.example", address=f"203.0.113.{number}")
            refusal(response, 401, "credentials_invalid")
        response = try_login(world, "owner@acme.example", PASSWORD, address="203.0.113.99")
        refusal(response, 429, "rate_limited")
        assert 0 < int(response.headers["Retry-After"]) <= 61
        refusal(try_login(world, "OWNER@acme.example "), 429, "rate_limited")
        assert try_login(world, "other@acme.example").status_code == 401

    @pytest.mark.parametrize(
        "addresses",
        [["203.0.113.7"], ["2001:db8:1:2::1", "2001:db8:1:2:ffff::2"]],
        ids=["IPv4", "IPv6 network"],
    )
    def test_from_one_address_for_many_emails_are_limited(
        self, make_world: MakeWorld, addresses: list[str]
    ) -> None:
        world = make_world(login_rate_limit="5 per minute")
        for number in range(5):
            address = addresses[number % len(addresses)]
            response = try_login(world, f"user{number}@acme.example", address=address)
            refusal(response, 401, "credentials_invalid")
        response = try_login(world, "user9@acme.example", address=addresses[0])
        refusal(response, 429, "rate_limited")
        assert try_login(world, "user9@acme.example", address="198.51.100.1").status_code == 401

    def test_are_counted_across_all_processes(self, make_world: MakeWorld) -> None:
        worlds = [make_world(login_rate_limit="6 per minute") for _ in range(3)]
        statuses = [try_login(worlds[n % 3], "owner@acme.example").status_code for n in range(9)]
        assert statuses == [401] * 6 + [429] * 3

    def test_first_ones_at_the_same_moment_are_not_in_each_others_way(
        self,
        make_world: MakeWorld,
        run_together: Callable[[list[Callable[[], Any]]], list[Any]],
    ) -> None:
        world = make_world(login_rate_limit="8 per minute", password_hash_concurrency=8)
        for number in range(10):
            attempt = partial(
                try_login, world, f"user{number}@acme.example", address=f"203.0.113.{number}"
            )
            statuses = [response.status_code for response in run_together([attempt] * 8)]
            assert statuses == [401] * 8

    def test_at_the_same_moment_are_counted_exactly(
        self,
        make_world: MakeWorld,
        run_together: Callable[[list[Callable[[], Any]]], list[Any]],
    ) -> None:
        world = make_world(login_rate_limit="10 per minute", password_hash_concurrency=8)
        responses = run_together([lambda: try_login(world, "owner@acme.example")] * 30)
        statuses = [response.status_code for response in responses]
        assert statuses.count(401) == 10
        assert statuses.count(429) == 20

    def test_while_the_counts_cannot_be_kept_each_process_counts_for_itself(
        self, make_world: MakeWorld, mongo: Client
    ) -> None:
        world = make_world(login_rate_limit="5 per minute")
        world.add(name="Acme", email="owner@acme.example", password=PASSWORD)
        namespace = f"{world.admin_db.name}.ratelimits"
        with failing(mongo, "alwaysOn", "update", errorCode=2, namespace=namespace):
            statuses = [
                try_login(world, "owner@acme.example", PASSWORD).status_code for _ in range(8)
            ]
        assert statuses == [200] * 5 + [429] * 3

    def test_the_counts_hold_no_email(self, make_world: MakeWorld) -> None:
        world = make_world(login_rate_limit="5 per minute")
        try_login(world, "owner@acme.example")
        kept = list(world.admin_db["ratelimits"].find())
        assert kept
        assert "acme" not in str(kept)
        indexes = world.admin_db["ratelimits"].index_information()
        assert any("expireAfterSeconds" in index for index in indexes.values())


def hold(monkeypatch: pytest.MonkeyPatch, tenant_db: str) -> tuple[threading.Event, list[int]]:
    """Make the lists of one tenant wait until the event is set; count those that wait."""
    go_on, waiting = threading.Event(), []
    list_todos = service.list_todos

    def list_slowly(db: MongoDatabase, query: PageQuery) -> Any:
        if db.name == tenant_db:
            waiting.append(1)
            go_on.wait(10)
        return list_todos(db, query)

    monkeypatch.setattr(service, "list_todos", list_slowly)
    return go_on, waiting


def test_one_more_request_of_a_busy_tenant_is_refused_and_those_of_others_are_not(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tenant_max_concurrency=3)
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    go_on, waiting = hold(monkeypatch, world.record(acme.tenant_id)["dbName"])
    statuses: list[int] = []
    slow = [
        threading.Thread(target=lambda: statuses.append(acme.get("/api/to-do-list").status_code))
        for _ in range(3)
    ]
    for thread in slow:
        thread.start()
    while len(waiting) < 3:
        time.sleep(0.01)

    response = acme.get("/api/users/me")
    refusal(response, 429, "tenant_busy")
    assert response.headers["Retry-After"] == "1"
    assert globex.get("/api/to-do-list").status_code == 200

    go_on.set()
    for thread in slow:
        thread.join()
    assert statuses == [200] * 3
    assert acme.get("/api/users/me").status_code == 200


@pytest.mark.parametrize("path", ["/api/to-do-list?limit=0", "/api/to-do-list/x", "/api/users/me"])
def test_a_request_that_fails_is_counted_no_longer(
    make_world: MakeWorld, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world(tenant_max_concurrency=1)
    owner = world.tenant("Acme")

    def fail(*_: Any) -> None:
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr("multitenant.controllers.tenant.users.service.get_oneself", fail)
        for _ in range(3):
            assert owner.get(path).status_code in (422, 500)
    suspend = f"/api/tenants/{owner.tenant_id}/suspend"
    assert world.operator.post(suspend).status_code == 200
    for _ in range(3):
        refusal(owner.get("/api/users/me"), 403, "tenant_suspended")


def test_reads_wait_for_a_connection_in_line_and_for_a_bounded_time(make_world: MakeWorld) -> None:
    """Writes do not: a body may be slow to come."""
    world = make_world(max_pool_size=4, operation_timeout_ms=2000)
    owner = world.tenant("Acme")
    with ExitStack() as held:
        for _ in range(4):
            lease = held.enter_context(world.platform.connections.lease(ObjectId(owner.tenant_id)))
            lease.wait_in_line()
        refused = refusal(owner.get("/api/users/me"), 503, "database_unavailable")
        assert refused["requestId"]
        assert owner.post("/api/to-do-list", json={"title": "Buy milk"}).status_code == 201
    assert owner.get("/api/users/me").status_code == 200


class TestCors:
    """CORS_ORIGINS."""

    ORIGIN = "https://app.example.com"

    def test_a_page_of_an_allowed_origin_may_use_the_api(self, make_world: MakeWorld) -> None:
        world = make_world(cors_origins=f"{self.ORIGIN},https://other.example.com")
        preflight = world.client.options(
            "/api/to-do-list",
            headers={
                "Origin": self.ORIGIN,
                "Access-Control-Request-Method": "POST",
                "Access-Control-Request-Headers": "authorization,content-type,x-tenant-id",
            },
        )
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == self.ORIGIN
        assert preflight.headers["Access-Control-Allow-Credentials"] == "true"
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        allowed = preflight.headers["Access-Control-Allow-Headers"].lower()
        assert {"authorization", "content-type", "x-tenant-id"} <= set(allowed.split(", "))

        refused = world.client.get("/api/users/me", headers={"Origin": self.ORIGIN})
        refusal(refused, 401, "token_missing")
        assert refused.headers["Access-Control-Allow-Origin"] == self.ORIGIN
        assert "X-Request-ID" in refused.headers["Access-Control-Expose-Headers"]
        assert "Origin" in refused.headers["Vary"]

    @pytest.mark.parametrize(
        "origin",
        [
            "https://evil.example.com",
            "http://app.example.com",
            "https://app.example.com.evil.example",
            "https://appxexample.com",
            "null",
        ],
    )
    def test_any_other_may_not(self, make_world: MakeWorld, origin: str) -> None:
        world = make_world(cors_origins=self.ORIGIN)
        for response in (
            world.client.get("/healthz", headers={"Origin": origin}),
            world.client.options(
                "/healthz", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}
            ),
        ):
            assert "Access-Control-Allow-Origin" not in response.headers

    def test_by_default_nobody_may(self, world: World) -> None:
        response = world.client.get("/healthz", headers={"Origin": self.ORIGIN})
        assert not any(name.startswith("Access-Control") for name, _ in response.headers)


def test_an_address_is_taken_from_a_trusted_proxy_only(make_world: MakeWorld) -> None:
    world = make_world(trusted_proxies="10.0.0.0/8", login_rate_limit="2 per minute")
    forged = {"X-Forwarded-For": "198.51.100.1"}
    for peer, seen in (("10.0.0.1", "198.51.100.1"), ("203.0.113.7", "203.0.113.7")):
        world.client.post(
            "/api/login",
            json={"email": f"x@{peer}.example", "password": "wrong"},
            headers=forged,
            environ_base={"REMOTE_ADDR": peer},
        )
        entry = answer(world.operator.get("/api/audit?outcome=failure"))["items"][0]
        assert entry["ip"] == seen


def test_without_trusted_proxies_nobody_is_believed(world: World) -> None:
    world.client.post(
        "/api/login",
        json={"email": "x@acme.example", "password": "wrong"},
        headers={"X-Forwarded-For": "198.51.100.1"},
    )
    assert answer(world.operator.get("/api/audit?outcome=failure"))["items"][0]["ip"] == "127.0.0.1"


def test_every_answer_has_the_security_headers(world: World) -> None:
    for path in ("/healthz", "/api/users/me", "/nothing"):
        headers = world.client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
