"""Clients that connect and send nothing, send a byte now and then, or do not fetch their answers:
the others are served, and what such a client may hold is bounded and given back."""

import contextlib
import resource
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests import plain_http
from tests.conftest import MakeWorld
from tests.e2e.server import Server
from tests.faults.budget import LONG
from tests.faults.workers import gunicorn, held_by, needs_proc, workers_of
from tests.support import User, answer, eventually

SILENT = 10_000 if LONG else 500
PLACES = 1000 if LONG else 100
"""Connections that a worker may have."""
PATIENCE = 60
"""Seconds after which something takes too long, on any machine."""

pytestmark = [needs_proc, pytest.mark.slow]


@pytest.fixture(params=["gevent", "gthread"])
def environment(environment: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    return environment | {"WORKER_CLASS": request.param, "WORKERS": "1", "THREADS": "4"}


@pytest.fixture
def acme(make_world: MakeWorld) -> User:
    """A tenant's owner."""
    return make_world().tenant("Acme")


@contextmanager
def allowed_files(count: int) -> Iterator[None]:
    """Let this process, and those that it starts, open so many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def serving(
    environment: dict[str, str],
    directory: Path,
    limits: dict[str, float] | None = None,
    **settings: float,
) -> Iterator[Server]:
    with Server(gunicorn(directory, limits, **settings), environment, directory) as server:
        yield server.wait_until_ready()


@contextmanager
def connected(server: Server, count: int, receive_buffer: int = 0) -> Iterator[list[socket.socket]]:
    """So many connections."""
    with ExitStack() as opened:
        connections = []
        for _ in range(count):
            connection = opened.enter_context(socket.socket())
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(PATIENCE)
            connection.connect(("127.0.0.1", server.port))
            connection.setblocking(False)
            connections.append(connection)
        yield connections


def is_served(server: Server, user: User) -> bool:
    """Whether somebody who comes now gets an answer from their tenant's database."""
    headers = {"Authorization": f"Bearer {user.access}"}
    url = f"{server.url}/api/users/me"
    return plain_http.get(url, headers=headers, timeout=PATIENCE / 2).status_code == 200


def ended(connections: list[socket.socket]) -> int:
    """How many of them the server has ended."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        return len(selector.select(0))


def test_connections_that_send_nothing_make_room_for_those_that_do(
    environment: dict[str, str], acme: User, tmp_path: Path
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        allowed_files(256),  # which the worker raises
        serving(environment, tmp_path, keepalive=600, worker_connections=PLACES) as server,
        allowed_files(most),
    ):
        (worker,) = workers_of(server)
        assert resource.prlimit(worker, resource.RLIMIT_NOFILE)[0] >= min(most, PLACES + 250)
        assert all(is_served(server, acme) for _ in range(5))
        before = held_by(worker)
        with connected(server, SILENT) as silent:
            for _ in range(20):
                assert is_served(server, acme), "the places would be free again after 600 s"
            # The one that has waited longest goes first.
            eventually(lambda: ended(silent) >= SILENT - PLACES)
            during = held_by(worker)
            assert during.descriptors <= before.descriptors + PLACES + 5
            assert during.threads <= before.threads + 4
            assert during.mib < before.mib + 32 + PLACES / 20
        eventually(lambda: held_by(worker).descriptors <= before.descriptors + 2)
        assert is_served(server, acme)
        assert '"level":"ERROR"' not in server.log


def test_slow_clients_are_not_waited_for(
    environment: dict[str, str], acme: User, tmp_path: Path
) -> None:
    """Heads that arrive a byte at a time, bodies that stop, answers that are not fetched."""
    limits = {"read_seconds": 1.0, "write_seconds": 1.0, "linger_seconds": 0.5}
    body = (
        "POST /api/to-do-list HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f'Authorization: Bearer {acme.access}\r\nContent-Length: 1000\r\n\r\n{{"title": "x'
    )
    head = iter(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + b"X-Slow: yes\r\n" * 10_000)
    with serving(environment, tmp_path, limits, keepalive=1) as server:
        (worker,) = workers_of(server)
        assert is_served(server, acme)
        before = held_by(worker)
        with (
            connected(server, 5) as slow,
            connected(server, 5) as stalled,
            connected(server, 5, receive_buffer=4096) as deaf,
        ):
            for connection in stalled:
                connection.settimeout(PATIENCE)
                connection.sendall(body.encode())
            for connection in deaf:
                connection.settimeout(PATIENCE)
                # More than the system would keep for them.
                connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
            assert is_served(server, acme)
            eventually(lambda: send_to_all(slow, next(head)) and ended(slow) == len(slow))
            for connection in stalled:
                assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
            eventually(lambda: server.log.count("did not fetch its answer") == len(deaf))
            eventually(lambda: held_by(worker).descriptors <= before.descriptors + 2)
            assert held_by(worker).threads <= before.threads + 4
            assert held_by(worker).mib < before.mib + 48
        assert is_served(server, acme)
        assert '"level":"ERROR"' not in server.log
    assert answer(acme.get("/api/to-do-list"))["items"] == []


def send_to_all(connections: list[socket.socket], byte: int) -> bool:
    for connection in connections:
        with contextlib.suppress(OSError):  # it has ended
            connection.send(bytes([byte]))
    return True
