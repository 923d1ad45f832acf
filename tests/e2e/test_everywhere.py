"""Three workers: what one of them has answered, all of them know within a second."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from tests import plain_http
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.failpoints import failing
from tests.support import PASSWORD, eventually

Act = Callable[[httpx.Client, httpx.Client, str], httpx.Response]


def suspend(operator: httpx.Client, _: httpx.Client, tenant_id: str) -> httpx.Response:
    return operator.post(f"/api/tenants/{tenant_id}/suspend")


def delete(operator: httpx.Client, _: httpx.Client, tenant_id: str) -> httpx.Response:
    return operator.delete(f"/api/tenants/{tenant_id}")


def log_out(_: httpx.Client, owner: httpx.Client, __: str) -> httpx.Response:
    return owner.post("/api/logout")


def change_the_password(_: httpx.Client, owner: httpx.Client, __: str) -> httpx.Response:
    with plain_http.open_client(base_url=owner.base_url) as client:
        email = owner.get("/api/users/me").json()["responseObject"]["email"]
        body = {"email": email, "password": PASSWORD}
        token = client.post("/api/login", json=body).json()["responseObject"]["accessToken"]
        change = {"currentPassword": PASSWORD, "newPassword": "another one"}
        return client.put("/api/users/me/password", json=change, headers={"jwt": token})


def statuses(server: Server, token: str) -> set[int]:
    """What the workers answer: a new connection each time reaches all of the three."""
    with ThreadPoolExecutor(6) as pool:
        asked = [
            pool.submit(plain_http.get, f"{server.url}/api/users/me", headers={"jwt": token})
            for _ in range(60)
        ]
    return {request.result().status_code for request in asked}


def tenant_id_of(operator: httpx.Client, name: str) -> str:
    found = operator.get(f"/api/tenants?q={name}").json()["responseObject"]["items"]
    return next(str(tenant["id"]) for tenant in found if tenant["name"] == name)


def token_of(user: httpx.Client) -> str:
    return user.headers["Authorization"].removeprefix("Bearer ")


@pytest.mark.parametrize(
    ("act", "status"),
    [(suspend, 403), (delete, 401), (log_out, 401), (change_the_password, 401)],
    ids=[
        "suspended tenant",
        "deleted tenant",
        "session that ended",
        "session before a new password",
    ],
)
def test_within_a_second_of_the_answer_every_worker_refuses(
    shared_server: Server, act: Act, status: int
) -> None:
    name = f"To-{act.__name__.replace('_', '-')}"
    email = shared_server.add_tenant(name)
    with shared_server.login(email, PASSWORD) as owner, shared_server.login() as operator:
        token = token_of(owner)
        assert statuses(shared_server, token) == {200}
        response = act(operator, owner, tenant_id_of(operator, name))
        assert response.status_code == 200, response.text
        time.sleep(1)
        assert statuses(shared_server, token) == {status}


def test_a_suspension_that_is_lifted_is_lifted_everywhere(shared_server: Server) -> None:
    email = shared_server.add_tenant("To-suspend-and-activate")
    with shared_server.login(email, PASSWORD) as owner, shared_server.login() as operator:
        token, tenant_id = token_of(owner), tenant_id_of(operator, "To-suspend-and-activate")
        for _ in range(2):
            assert suspend(operator, owner, tenant_id).status_code == 200
            time.sleep(1)
            assert statuses(shared_server, token) == {403}
            assert operator.post(f"/api/tenants/{tenant_id}/activate").status_code == 200
            time.sleep(1)
            assert statuses(shared_server, token) == {200}


def test_switching_and_rotating_under_load_fails_no_request_of_any_worker(
    environment: dict[str, str], tmp_path: Path, mongo: MongoClient[dict[str, Any]]
) -> None:
    # An old user stays for as long as an operation may take.
    changed = {"WORKERS": "3", "THREADS": "8", "OPERATION_TIMEOUT_MS": "2000"}
    with Server(MULTITENANT_RUN, environment | changed, tmp_path) as served:
        served.wait_until_ready()
        _switch_and_rotate(served, mongo)


def _switch_and_rotate(served: Server, mongo: MongoClient[dict[str, Any]]) -> None:
    email = served.add_tenant("Acme")
    with served.login(email, PASSWORD) as owner, served.login() as operator:
        tenant_id, headers = tenant_id_of(operator, "Acme"), dict(owner.headers)
        stop = threading.Event()

        def work(kept: bool) -> list[int]:
            answered = []
            with plain_http.open_client(base_url=served.url, headers=headers) as client:
                while not stop.is_set():
                    sender: Any = client if kept else plain_http
                    where = "" if kept else served.url
                    response = sender.get(f"{where}/api/to-do-list", headers=headers)
                    answered.append(response.status_code)
            return answered

        path = f"/api/tenants/{tenant_id}"
        with ThreadPoolExecutor(6) as pool:
            working = [pool.submit(work, number % 2 == 0) for number in range(6)]
            try:
                change_under_load(operator, path, mongo)
            finally:
                stop.set()
            answered = [status for work in working for status in work.result()]
        assert set(answered) == {200}
        assert len(answered) > 100


def change_under_load(
    operator: httpx.Client, path: str, mongo: MongoClient[dict[str, Any]]
) -> None:
    """Switch and rotate some times, and wait until one MongoDB user is left."""
    for change in ("dedicated", None, None, "shared", "dedicated", None):
        if change:
            response = operator.patch(path, json={"isolation": change})
        else:
            response = operator.post(f"{path}/rotate-credentials")
        assert response.status_code == 200, response.text
        time.sleep(0.7)
    db_name = operator.get(path).json()["responseObject"]["dbName"]
    eventually(lambda: len(mongo[db_name].command("usersInfo")["users"]) == 1)


def test_a_tenant_with_slow_queries_does_not_take_the_threads_of_the_others(
    environment: dict[str, str], tmp_path: Path, mongo: MongoClient[dict[str, Any]]
) -> None:
    changed = environment | {"WORKERS": "1", "THREADS": "4", "TENANT_MAX_CONCURRENCY": "2"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        acme, globex = (server.add_tenant(name) for name in ("Acme", "Globex"))
        with (
            server.login(acme, PASSWORD) as slow,
            server.login(globex, PASSWORD) as quick,
            server.login() as operator,
        ):
            path = f"/api/tenants/{tenant_id_of(operator, 'Acme')}"
            db_name = operator.get(path).json()["responseObject"]["dbName"]
            slowly = {"namespace": f"{db_name}.todos", "blockConnection": True, "blockTimeMS": 6000}
            with failing(mongo, "alwaysOn", "find", **slowly), ThreadPoolExecutor(8) as pool:
                asked = [
                    pool.submit(
                        plain_http.get, f"{server.url}/api/to-do-list", headers=slow.headers
                    )
                    for _ in range(8)
                ]
                eventually(lambda: sum(request.done() for request in asked) == 6)
                for _ in range(5):
                    assert quick.get("/api/to-do-list").status_code == 200
                slow_ones = sum(not request.done() for request in asked)
                assert slow_ones == 2, "the others waited for them"
                answers = [request.result() for request in asked]
            assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 6
            busy = next(answer for answer in answers if answer.status_code == 429)
            assert busy.json()["responseObject"]["code"] == "tenant_busy"
            assert busy.headers["Retry-After"]


def test_logins_are_counted_across_workers(environment: dict[str, str], tmp_path: Path) -> None:
    changed = environment | {"WORKERS": "3", "LOGIN_RATE_LIMIT": "8 per minute"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        body = {"email": "nobody@acme.example", "password": "wrong password"}
        with ThreadPoolExecutor(6) as pool:
            asked = [
                pool.submit(plain_http.post, f"{server.url}/api/login", json=body)
                for _ in range(30)
            ]
        answered = [request.result().status_code for request in asked]
        assert sorted(answered) == [401] * 8 + [429] * 22
