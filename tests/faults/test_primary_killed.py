"""A replica set loses its primary, again and again, while people work on real gunicorn workers.

What was acknowledged is there, once. What was refused was refused with 503 and only for want of a
primary. Nobody had to restart anything.
"""

import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from bson import ObjectId
from pymongo.read_concern import ReadConcern

from tests import plain_http
from tests.conftest import data_directory, variables_of
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.faults.budget import seconds
from tests.faults.load import Load, Sent, Worker, ensure_unavailable
from tests.faults.replica_set import ReplicaSet, Span
from tests.support import PASSWORD

pytestmark = pytest.mark.slow

NAME = "crash"
TENANTS = ("Acme", "Globex", "Initech")
OPERATION_MS = 2500
"""Shorter than an election after a crash, which some requests therefore do not live to see, and
longer than one that was prepared for, which nobody should notice."""
DISCOVERY_SECONDS = 2.0
"""How long a process may take to find the new primary: PyMongo asks a server that it has lost
sight of every half second, and then has to connect and log in."""
SUSPENSION_SECONDS = 10.0


@pytest.fixture
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    with data_directory(tmp_path_factory) as directory, ReplicaSet(directory) as replica_set:
        yield replica_set


@pytest.fixture
def server(replica_set: ReplicaSet, tmp_path: Path) -> Iterator[Server]:
    """Two workers on it."""
    variables = {
        **variables_of(replica_set.uri, NAME, tmp_path),
        "OPERATION_TIMEOUT_MS": str(OPERATION_MS),
        "ACCESS_TOKEN_SECONDS": "86400",
        "WORKERS": "2",
        "WORKER_CLASS": "gevent",
        "LOG_LEVEL": "INFO",
    }
    with Server(MULTITENANT_RUN, variables, tmp_path) as server:
        yield server.wait_until_ready()


def test_what_was_acknowledged_outlives_its_primary(
    replica_set: ReplicaSet, server: Server, record_property: Callable[[str, object], None]
) -> None:
    people = {name: server.login(server.add_tenant(name), PASSWORD) for name in TENANTS}
    suspended = server.login(server.add_tenant("Hooli"), PASSWORD)
    operator = server.login()
    began = time.time()
    with Load([*_workers(server, people), _adding(operator)]) as load:
        load.go_on()
        enough = time.monotonic() + seconds(0)
        for turn in itertools.count():
            if turn % 2 == 0:
                victim = replica_set.primary()
                victim.kill()
            else:
                replica_set.step_down()
            _ensure_suspension_is_heard_of(server, operator, suspended)
            load.go_on()
            if turn % 2 == 0:
                victim.start()
                replica_set.await_members()
            elif time.monotonic() > enough:
                break
    lost = replica_set.without_primary(began)
    assert len(lost) >= turn + 1, "no primary was lost"
    for line in _told(load, lost):
        record_property("outage", line)

    assert load.wrong == []
    _ensure_refused_for_want_of_a_primary(load, lost)
    for name in TENANTS:
        _ensure_everything_is_there_once(replica_set, load, name)
    _ensure_sending_again_adds_nothing(replica_set, operator, load)
    assert server.log.count("Booting worker") == 2
    assert '"status":500' not in server.log
    for client in (*people.values(), suspended, operator):
        client.close()


def _workers(server: Server, people: dict[str, httpx.Client]) -> Iterator[Worker]:
    """Who reads and writes in each of the tenants."""
    for name, client in people.items():
        for kind, work in {
            "to-do": _add_todo,
            "order": _place_order,
            "look": _look,
            "login": _login_to(server),
        }.items():
            yield Worker(kind, name, lambda mark, work=work, c=client, n=name: work(c, n, mark))  # type: ignore[misc]


def _add_todo(client: httpx.Client, name: str, mark: str) -> httpx.Response:
    response = client.post("/api/to-do-list", json={"title": mark})
    if response.status_code < 300:
        assert response.status_code == 201, response.text
        assert response.json()["responseObject"]["title"] == mark
    return response


def _place_order(client: httpx.Client, name: str, mark: str) -> httpx.Response:
    items = [{"name": mark, "quantity": number, "price": "1.50"} for number in (1, 2)]
    response = client.post("/api/orders", json={"items": items})
    if response.status_code < 300:
        assert response.status_code == 201, response.text
        assert response.json()["responseObject"]["total"] == "4.50"
    return response


def _look(client: httpx.Client, name: str, mark: str) -> httpx.Response:
    response = client.get("/api/users/me")
    if response.status_code < 300:
        assert response.json()["responseObject"]["email"] == f"owner@{name.lower()}.example"
        response = client.get("/api/to-do-list")
    if response.status_code < 300:
        items = response.json()["responseObject"]["items"]
        assert all(item["title"].split()[1] == name for item in items), response.text
    return response


def _login_to(server: Server) -> Callable[[httpx.Client, str, str], httpx.Response]:
    def login(client: httpx.Client, name: str, mark: str) -> httpx.Response:
        body = {"email": f"owner@{name.lower()}.example", "password": PASSWORD}
        response = plain_http.post(f"{server.url}/api/login", json=body, timeout=30)
        if response.status_code < 300:
            assert response.json()["responseObject"]["role"] == "owner"
        return response

    return login


def _adding(operator: httpx.Client) -> Worker:
    """Who adds tenants."""
    return Worker("tenant", "operators", lambda mark: _add_tenant(operator, mark))


def _add_tenant(operator: httpx.Client, mark: str) -> httpx.Response:
    body = {"name": mark, "email": f"{mark.replace(' ', '.')}@example.com", "password": PASSWORD}
    return operator.post("/api/tenants", json=body, headers={"Idempotency-Key": mark})


def _ensure_suspension_is_heard_of(
    server: Server, operator: httpx.Client, suspended: httpx.Client
) -> None:
    """Suspend the tenant while there is no primary, asking again for as long as that takes; soon
    after the answer every worker refuses it. Then make it active again."""
    path = f"/api/tenants/{suspended.get('/healthz') and _tenant_of(operator, 'Hooli')}"
    _insist(lambda: operator.post(f"{path}/suspend"))
    _await_status(server, suspended, 403)
    _insist(lambda: operator.post(f"{path}/activate"))
    _await_status(server, suspended, 200)


def _tenant_of(operator: httpx.Client, name: str) -> str:
    found = _insist(lambda: operator.get("/api/tenants", params={"q": name}))
    tenant_id: str = found.json()["responseObject"]["items"][0]["id"]
    return tenant_id


def _insist(send: Callable[[], httpx.Response]) -> httpx.Response:
    """Send it until it is answered, as a client does that heeds `Retry-After`."""
    while True:
        response = send()
        if response.status_code < 300:
            return response
        ensure_unavailable(response)
        time.sleep(int(response.headers["Retry-After"]))


def _await_status(server: Server, client: httpx.Client, status: int) -> None:
    """Return when the next dozen requests, each over a connection of its own and so to any of the
    workers, are answered like that."""
    deadline = time.monotonic() + SUSPENSION_SECONDS
    while True:
        answered = {
            plain_http.get(
                f"{server.url}/api/users/me", headers=client.headers, timeout=30
            ).status_code
            for _ in range(12)
        }
        if answered == {status}:
            return
        assert time.monotonic() < deadline, answered
        assert answered <= {200, 403, 503}


def _ensure_refused_for_want_of_a_primary(load: Load, lost: list[Span]) -> None:
    """Each was under way when there was no primary, or when this machine stood still."""
    excuses = [(start, end + DISCOVERY_SECONDS) for start, end in lost] + load.stalls
    refused = [one for one in load.sent if one.status == 503]
    unexcused = [
        one for one in refused if not any(one.overlaps(start, end) for start, end in excuses)
    ]
    assert unexcused == [], lost
    for start, end in lost:
        if end - start < OPERATION_MS / 1000 / 2 and not any(
            start - DISCOVERY_SECONDS < stall[1] and stall[0] < end + DISCOVERY_SECONDS
            for stall in load.stalls
        ):
            noticed = [one for one in refused if one.overlaps(start, end)]
            assert noticed == [], "an election that is over in time need not be noticed"


def _ensure_everything_is_there_once(replica_set: ReplicaSet, load: Load, name: str) -> None:
    """All that the tenant was told to have, and at most what it asked for; nothing of others."""
    admin_db = replica_set.client[f"{NAME}_admin"].with_options(
        read_concern=ReadConcern("majority")
    )
    tenant = admin_db["tenants"].find_one({"name": name})
    assert tenant is not None
    db = replica_set.client[tenant["dbName"]].with_options(read_concern=ReadConcern("majority"))
    ordered = list(db["orderItems"].find())
    assert {item["orderId"] for item in ordered} == set(db["orders"].distinct("_id"))
    assert set(Counter(item["orderId"] for item in ordered).values()) <= {2}
    found = {
        "to-do": Counter(todo["title"] for todo in db["todos"].find()),
        "order": Counter(item["name"] for item in ordered if item["position"] == 0),
    }
    for kind, marks in found.items():
        acknowledged = load.marks(kind, name, acknowledged=True)
        assert acknowledged
        assert set(acknowledged) <= marks.keys(), f"{kind} lost"
        assert set(marks.values()) == {1}, f"{kind} twice"
        assert marks.keys() <= {*acknowledged, *load.marks(kind, name, acknowledged=False)}
    noted = admin_db["audit"].count_documents(
        {"action": "auth.login", "outcome": "success", "tenantId": tenant["_id"]}
    )
    logins = len(load.marks("login", name, acknowledged=True)) + 1  # the one before
    assert logins <= noted <= logins + len(load.marks("login", name, acknowledged=False))


def _ensure_sending_again_adds_nothing(
    replica_set: ReplicaSet, operator: httpx.Client, load: Load
) -> None:
    """A tenant is there once, and wholly, whether its request was acknowledged or is only now."""
    marks = [one.mark for one in load.sent if one.kind == "tenant"]
    admin_db = replica_set.client[f"{NAME}_admin"]
    known = {tenant["name"]: tenant["_id"] for tenant in admin_db["tenants"].find()}
    assert set(load.marks("tenant", "operators", acknowledged=True)) <= known.keys()
    for mark in marks:
        again = _insist(lambda mark=mark: _add_tenant(operator, mark)).json()["responseObject"]  # type: ignore[misc]
        assert ObjectId(again["tenantId"]) == known.get(mark, ObjectId(again["tenantId"]))
        tenants = list(admin_db["tenants"].find({"name": mark}))
        assert [tenant["_id"] for tenant in tenants] == [ObjectId(again["tenantId"])]
        users = list(replica_set.client[tenants[0]["dbName"]]["users"].find())
        members = list(admin_db["tenantusers"].find({"tenantId": tenants[0]["_id"]}))
        assert [user["_id"] for user in users] == [member["_id"] for member in members]


def _told(load: Load, lost: list[Span]) -> Iterator[str]:
    """What there is to say of each time without a primary."""
    for start, end in lost:
        meanwhile = [one for one in load.sent if one.overlaps(start, end + DISCOVERY_SECONDS)]
        refused = sorted(one.ended for one in meanwhile if one.status == 503)
        served = [one for one in meanwhile if one.status < 300]
        when = "never"
        if refused:
            when = f"from {refused[0] - start:.1f} s to {refused[-1] - start:.1f} s after it began"
        yield (
            f"no primary for {end - start:.2f} s: {len(refused)} of {len(meanwhile)} requests"
            f" refused, {when}; the slowest served took {max(map(_took, served)):.1f} s"
        )


def _took(one: Sent) -> float:
    return one.ended - one.began
