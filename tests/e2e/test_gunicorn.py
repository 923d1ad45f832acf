"""The application behind gunicorn, with several workers, over HTTP."""

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from tests import plain_http
from tests.e2e.server import GUNICORN, MULTITENANT_RUN, Server
from tests.failpoints import fail
from tests.support import PASSWORD, PATIENCE_SECONDS


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Each; what is promised here holds for both."""
    name: str = request.param
    return name


def test_several_workers_serve_several_tenants_and_mix_nothing_up(shared_server: Server) -> None:
    owners = {}
    for name in ("Acme", "Globex", "Initech"):
        owners[name] = shared_server.login(shared_server.add_tenant(name), PASSWORD)

    def work(name: str) -> set[int]:
        statuses = set()
        for number in range(20):
            response = owners[name].post("/api/to-do-list", json={"title": f"{name} {number}"})
            statuses.add(response.status_code)
        return statuses

    with ThreadPoolExecutor(6) as pool:
        assert set.union(*pool.map(work, [*owners, *owners])) == {201}

    for name, owner in owners.items():
        items = owner.get("/api/to-do-list?limit=100").json()["responseObject"]["items"]
        assert len(items) == 40
        assert all(item["title"].startswith(name) for item in items)
        owner.close()
    assert "before the fork" not in shared_server.log
    assert '"level":"ERROR"' not in shared_server.log


def test_a_log_line_names_request_and_tenant_and_no_secret(shared_server: Server) -> None:
    email = shared_server.add_tenant("Logged")
    with shared_server.login(email, PASSWORD) as owner:
        owner.get("/api/users/me", headers={"X-Request-ID": "find-me"})
        token = owner.headers["Authorization"].removeprefix("Bearer ")
    line = next(line for line in shared_server.log.splitlines() if '"requestId":"find-me"' in line)
    for part in ('"path":"/api/users/me"', '"status":200', '"tenantId":"', '"userId":"'):
        assert part in line
    assert PASSWORD not in shared_server.log
    assert token not in shared_server.log
    assert "$2b$" not in shared_server.log


def slow_finds(mongo: MongoClient[dict[str, Any]], times: int, seconds: float) -> None:
    """Let the next finds of an application take this long in mongod."""
    milliseconds = int(seconds * 1000)
    fail(mongo, {"times": times}, "find", blockConnection=True, blockTimeMS=milliseconds)


def test_sigterm_lets_a_request_in_flight_end_closes_every_client_and_exits_0(
    served: Server, mongod: EmbeddedServer, mongo: MongoClient[dict[str, Any]]
) -> None:
    with served.login(served.add_tenant("Acme"), PASSWORD) as owner:
        served.wait_until_connected(3, mongod._port)
        owner.get("/api/users/me")
        slow_finds(mongo, 1, 1.5)
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(owner.get, "/api/to-do-list")
            time.sleep(0.5)
            assert served.stop(signal.SIGTERM) == 0
            assert slow.result().status_code == 200
    assert served.log.count("Every client is closed") == 3
    assert "cut off" not in served.log


@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGQUIT])
def test_gunicorns_quick_signals_close_every_client_and_exit_0(
    served: Server, mongod: EmbeddedServer, wanted: signal.Signals
) -> None:
    served.wait_until_connected(3, mongod._port)
    served.process.send_signal(wanted)
    time.sleep(0.05)
    served.process.send_signal(wanted)  # impatient: changes nothing
    assert served.process.wait(timeout=PATIENCE_SECONDS) == 0
    assert served.log.count("Every client is closed") == 3


def test_a_request_that_outlives_the_grace_is_cut_off_and_said_so(
    environment: dict[str, str],
    worker_class: str,
    tmp_path: Path,
    mongo: MongoClient[dict[str, Any]],
) -> None:
    changed = environment | {"WORKERS": "1", "GRACEFUL_TIMEOUT": "1"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        with server.login(server.add_tenant("Acme"), PASSWORD) as owner:
            slow_finds(mongo, 1, 4)
            with ThreadPoolExecutor(1) as pool:
                slow = pool.submit(owner.get, "/api/to-do-list")
                time.sleep(0.5)
                assert server.stop(signal.SIGTERM) == 0
                error = slow.exception()
                assert error is not None or slow.result().status_code >= 500
        said = {"gevent": "Worker graceful timeout", "gthread": "Requests were cut off"}
        assert server.log.count(said[worker_class]) == 1
        assert server.log.count("Every client is closed") == 1


def test_a_client_that_holds_its_connection_after_the_answer_delays_nobody(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """gunicorn's own worker waits up to 2 s for each of these in its only accepting loop."""
    changed = environment | {"WORKERS": "1", "THREADS": "4"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        held = []
        try:
            for _ in range(10):
                connection = socket.create_connection(("127.0.0.1", server.port))
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                held.append(connection)
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            started = time.monotonic()
            assert plain_http.get(f"{server.url}/healthz").status_code == 200
            assert time.monotonic() - started < 10, "ten held connections would cost 20 s"
            # a client that goes on sending does not keep its connection for that
            time.sleep(2.5)
            with pytest.raises(OSError, match=r"reset|Broken pipe"):
                _send_for_a_while(held[0])
        finally:
            for connection in held:
                connection.close()
        # kept-alive connections are still kept
        with plain_http.open_client() as client:
            for _ in range(3):
                assert client.get(f"{server.url}/healthz").headers["Connection"] == "keep-alive"


def _send_for_a_while(connection: socket.socket) -> None:
    for _ in range(10):
        connection.sendall(b"x" * 100)
        time.sleep(0.02)


def test_an_answer_is_not_cut_off_by_a_body_that_nobody_read(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Closing at once would reset the connection, and the client would lose the 413."""
    changed = environment | {"WORKERS": "1", "THREADS": "2"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        for _ in range(10):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(
                    b"POST /api/login HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                    b"Content-Type: application/json\r\nContent-Length: 1100000\r\n\r\n"
                )
                time.sleep(0.05)  # the 413 is on its way; this client goes on all the same
                _send_for_a_while(connection)
                assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_preloading_the_application_opens_nothing_before_the_fork(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with Server(MULTITENANT_RUN, environment, tmp_path / "init") as first:
        first.wait_until_ready()
    with Server((*GUNICORN, "--preload", "wsgi:app"), environment, tmp_path) as server:
        server.wait_until_ready()
        with server.login() as operator:
            assert operator.get("/api/tenants").status_code == 200
        assert server.stop() == 0
        assert "before the fork" not in server.log
        # each of the two workers once, and the master, which had none to close
        assert server.log.count("Every client is closed") == 3


def test_a_worker_that_dies_is_replaced_and_the_others_go_on(served: Server) -> None:
    pids = served.workers
    with served.login(served.add_tenant("Acme"), PASSWORD) as owner:
        os.kill(pids[0], signal.SIGKILL)
        stop = threading.Event()
        while len(served.workers) < 4:
            assert not stop.wait(0.05)
        for _ in range(10):
            assert owner.get("/api/users/me").status_code == 200


def _raw(server: Server, request: bytes) -> bytes:
    """Send bytes, and return the first line of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        return connection.recv(65536).split(b"\r\n")[0]


HEAD = b"POST /api/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def test_clients_that_stop_in_the_middle_of_a_body_hold_a_thread_for_a_bounded_time(
    environment: dict[str, str], tmp_path: Path
) -> None:
    changed = environment | {"WORKERS": "1", "THREADS": "4"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        stalled = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(8)]
        for connection in stalled[:4]:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        time.sleep(0.2)
        assert plain_http.get(f"{server.url}/healthz", timeout=20).status_code == 200
        assert stalled[0].recv(100).startswith(b"HTTP/1.1 400 ")
        for connection in stalled:
            connection.close()


@pytest.mark.parametrize(
    ("chunks", "status"),
    [
        (b"ZZ\r\n{}\r\n0\r\n\r\n", b"400"),
        (b"-1\r\n{}\r\n0\r\n\r\n", b"400"),
        (b"2\r\n{}0\r\n\r\n", b"400"),
        (b"2\r\n{}\r\n0\r\n\r\n", b"422"),
    ],
)
def test_a_chunked_body_is_read_or_refused(
    shared_server: Server, chunks: bytes, status: bytes
) -> None:
    first = _raw(shared_server, HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert first.split()[1] == status
    assert '"level":"ERROR"' not in shared_server.log


def test_a_chunked_body_beyond_the_limit_is_refused_and_not_cut(shared_server: Server) -> None:
    login = b'{"email": "operator@example.com", "password": "operator\'s own password"}'
    body = login.ljust(1024 * 1024) + b"garbage"
    chunked = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    assert _raw(shared_server, head + chunked).split()[1] == b"413"


@pytest.mark.parametrize("header", [b"SCRIPT_NAME: /x", b"PATH_INFO: /healthz"])
def test_no_header_moves_the_request_elsewhere(shared_server: Server, header: bytes) -> None:
    request = b"GET /readyz HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n"
    assert _raw(shared_server, request).split()[1] in (b"200", b"400")
    assert '"path":"/healthz"' not in shared_server.log
