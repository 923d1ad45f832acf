"""Workers that end, for whatever reason, while clients keep their connections: nobody loses a
request, and load balancers hear of the end first."""

import http.client
import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests import plain_http
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.faults.workers import gunicorn, needs_proc, workers_of
from tests.support import PATIENCE_SECONDS, eventually, is_running

FOREVER = 600.0


@pytest.fixture(scope="module", params=["gevent", pytest.param("gthread", marks=pytest.mark.slow)])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Each; what is promised here holds for both."""
    name: str = request.param
    return name


class Load:
    """Clients with kept-alive connections, each sending one request after another."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answers: Counter[int] = Counter()
        self.lost: list[str] = []
        self.refused = threading.Event()
        """Set when somebody found nobody listening."""

    def _send(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE_SECONDS)
        connection.connect()
        while not self._stop.is_set():
            try:
                connection.request("POST", "/api/logout", b"{}")
                response = connection.getresponse()
                response.read()
                self.answers[response.status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
            if connection.sock is None:  # it was said to be the last answer
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    self.refused.set()
                    return
        connection.close()

    @contextmanager
    def running(self, clients: int = 6) -> Iterator[None]:
        threads = [threading.Thread(target=self._send) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()


@contextmanager
def serving(
    environment: dict[str, str], directory: Path, *, limits: dict[str, float], **settings: str
) -> Iterator[Server]:
    """One worker with other limits."""
    changed = environment | {"WORKERS": "1", "THREADS": "4", **settings}
    with Server(gunicorn(directory, limits), changed, directory) as server:
        yield server.wait_until_ready()


@contextmanager
def kept(server: Server) -> Iterator[http.client.HTTPConnection]:
    """A connection that has been used once and is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/healthz")
    response = connection.getresponse()
    response.read()
    assert response.headers["Connection"] == "keep-alive"
    try:
        yield connection
    finally:
        connection.close()


def is_listening(server: Server) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", server.port)) == 0


@needs_proc
def test_no_request_is_lost_while_workers_end_one_after_another(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """By `max_requests`, SIGTERM to one of them, SIGHUP, and at last with the server."""
    command = gunicorn(tmp_path, max_requests=150, max_requests_jitter=100)
    changed = environment | {"WORKERS": "2", "THREADS": "8"}
    with Server(command, changed, tmp_path) as server:
        server.wait_until_ready()
        load = Load(server.port)
        with load.running():
            eventually(lambda: server.log.count("Autorestarting worker") >= 2)
            os.kill(workers_of(server)[-1], signal.SIGTERM)
            server.process.send_signal(signal.SIGHUP)
            before = len(server.workers)
            eventually(lambda: len(server.workers) >= before + 2)
            answered = load.answers.total()
            eventually(lambda: load.answers.total() > answered + 100)
            server.process.send_signal(signal.SIGTERM)
            assert load.refused.wait(PATIENCE_SECONDS)
        assert server.process.wait(PATIENCE_SECONDS) == 0
    assert load.lost == []
    assert set(load.answers) == {401}
    assert "Exception in worker process" not in server.log


@pytest.mark.slow
def test_the_next_request_on_a_kept_connection_is_answered_and_is_the_last(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with (
        serving(environment, tmp_path, limits={"stop_seconds": FOREVER}) as server,
        kept(server) as connection,
    ):
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: not is_listening(server))
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        assert (response.status, response.headers["Connection"]) == (200, "close")
        assert server.process.wait(PATIENCE_SECONDS) == 0
    assert "graceful timeout" not in server.log


@pytest.mark.slow
def test_an_idle_connection_ends_without_a_reset(
    environment: dict[str, str], tmp_path: Path
) -> None:
    limits = {"stop_seconds": 0.1, "linger_seconds": FOREVER}
    with serving(environment, tmp_path, limits=limits) as server, kept(server) as connection:
        server.process.send_signal(signal.SIGTERM)
        assert connection.sock.recv(1, socket.MSG_PEEK) == b"", "that is FIN"
        connection.request("POST", "/api/logout", b"{}")
        assert connection.sock.recv(1) == b""
        connection.close()
        assert server.process.wait(PATIENCE_SECONDS) == 0
    assert '"path":"/api/logout"' not in server.log, "a client may send it again elsewhere"


@pytest.mark.slow
def test_readyz_fails_first_and_everything_else_is_served(
    environment: dict[str, str], tmp_path: Path
) -> None:
    changed = environment | {"WORKERS": "1", "DRAIN_SECONDS": "600"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        with kept(server) as connection:
            server.process.send_signal(signal.SIGTERM)
            eventually(lambda: plain_http.get(f"{server.url}/readyz").status_code == 503)
            with server.login() as operator:
                assert operator.get("/api/tenants").status_code == 200
            connection.request("GET", "/healthz")
            response = connection.getresponse()
            assert (response.status, response.headers["Connection"]) == (200, "keep-alive")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE_SECONDS) == 0
    assert server.log.count("Every client is closed") >= 1


@pytest.mark.slow
def test_a_kept_connection_may_be_idle_for_longer_than_a_request_may_take(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """And for no longer than KEEPALIVE_SECONDS."""
    limits = {"read_seconds": 0.3, "write_seconds": 0.3}
    with serving(environment, tmp_path, limits=limits, KEEPALIVE_SECONDS="2") as server:
        with kept(server) as connection, kept(server) as other:
            threading.Event().wait(0.7)
            connection.request("GET", "/healthz")
            assert connection.getresponse().read()
            assert other.sock.recv(1) == b""
        assert '"level":"ERROR"' not in server.log


@pytest.mark.slow
def test_a_master_that_is_killed_takes_no_request_with_it(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with serving(environment, tmp_path, limits={}) as server:
        load = Load(server.port)
        with load.running(clients=2):
            eventually(lambda: load.answers.total() > 20)
            server.process.kill()
            server.process.wait()
            assert load.refused.wait(PATIENCE_SECONDS)
        assert load.lost == []
        with pytest.raises(httpx.ConnectError):
            plain_http.get(f"{server.url}/healthz")
        eventually(lambda: not any(map(is_running, server.workers)))
