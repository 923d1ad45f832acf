"""Requests that are too large, too deep, too many-headed, or lie about their size: a clear answer,
bounded memory, and the next request is served."""

import gzip
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from multitenant.embedded import EmbeddedServer
from tests import plain_http
from tests.conftest import leakless_worlds, own_environment
from tests.e2e.server import Server
from tests.faults.budget import LONG
from tests.faults.workers import gunicorn, held_by, needs_proc, workers_of
from tests.support import User

MIB = 2**20
AT_ONCE = 16
ROUNDS = 20 if LONG else 1
MAY_GROW_MIB = 128
"""What 16 bodies of a MiB at once may take, parsed, and what Python keeps of that afterwards."""

pytestmark = [needs_proc, pytest.mark.slow]


@pytest.fixture(scope="module")
def acme_on_server(
    mongod: EmbeddedServer, mongo: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Server, User]]:
    """One server for all that must leave nothing behind, and a tenant's owner."""
    directory = tmp_path_factory.mktemp("huge")
    with (
        own_environment(mongod, mongo, directory) as environment,
        leakless_worlds(environment) as make,
    ):
        owner = make().tenant("Acme")
        changed = environment | {
            "WORKERS": "1",
            "WORKER_CLASS": "gevent",
            "OPERATION_TIMEOUT_MS": "60000",
        }
        limits = {"read_seconds": 2.0}
        with Server(gunicorn(directory, limits), changed, directory) as server:
            yield server.wait_until_ready(), owner


@pytest.fixture
def server(acme_on_server: tuple[Server, User]) -> Iterator[Server]:
    """The server, which has written no error."""
    server, _ = acme_on_server
    errors = server.log.count('"level":"ERROR"')
    yield server
    assert server.log.count('"level":"ERROR"') == errors


@pytest.fixture
def acme(acme_on_server: tuple[Server, User]) -> User:
    return acme_on_server[1]


@contextmanager
def bounded(server: Server, user: User) -> Iterator[None]:
    """The worker may hold little more at the end than at the start, and serves the user then."""
    (worker,) = workers_of(server)
    assert items(server, user) == []
    before = held_by(worker)
    yield
    assert items(server, user) == []
    (still,) = workers_of(server)
    after = held_by(worker)
    assert still == worker, "it was replaced"
    assert after.mib < before.mib + MAY_GROW_MIB
    assert after.threads <= before.threads + 2
    assert after.descriptors <= before.descriptors + AT_ONCE


def items(server: Server, user: User) -> Any:
    headers = {"Authorization": f"Bearer {user.access}"}
    answered = plain_http.get(f"{server.url}/api/to-do-list", headers=headers, timeout=60)
    return answered.json()["responseObject"]["items"]


def head(user: User, *lines: str) -> bytes:
    """The head of a request that would make a to-do item."""
    first = ["POST /api/to-do-list HTTP/1.1", "Host: x", f"Authorization: Bearer {user.access}"]
    content_type = ["Content-Type: application/json"]
    return "\r\n".join([*first, *content_type, *lines, "", ""]).encode()


def first_line(server: Server, request: bytes, endless: bytes = b"") -> str:
    """Send the request, and then `endless` again and again until the server hangs up; return the
    first line of what it has answered."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        try:
            connection.sendall(request)
            while endless:
                connection.sendall(endless)
        except OSError:
            pass  # it listens no longer
        try:
            return connection.recv(4096).split(b"\r\n")[0].decode()
        except ConnectionResetError:
            return "hung up"


def test_a_body_that_says_it_is_too_large_is_refused_before_it_is_sent(
    server: Server, acme: User
) -> None:
    with bounded(server, acme):
        for length in (MIB + 1, 10 * 2**30, 10**30):
            line = first_line(server, head(acme, f"Content-Length: {length}"))
            assert line.startswith("HTTP/1.1 413 "), line


def test_a_chunked_body_without_end_is_refused_once_it_is_too_large(
    server: Server, acme: User
) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    with bounded(server, acme), ThreadPoolExecutor(AT_ONCE) as pool:
        request = head(acme, "Transfer-Encoding: chunked")
        lines = pool.map(lambda _: first_line(server, request, chunk), range(4 * ROUNDS))
        # 400 where it took too long; and the answer may be lost to who never stops sending.
        assert {line[:12] for line in lines} <= {"HTTP/1.1 413", "HTTP/1.1 400", "hung up"}


@pytest.mark.parametrize(
    ("said", "status"), [(5, "400"), (5000, "400"), ("-1", "400"), ("5, 6", "400"), ("five", "400")]
)
def test_a_length_that_is_a_lie_is_refused(
    server: Server, acme: User, said: Any, status: str
) -> None:
    """Too little, and the rest would be the next request; too much, and it never ends."""
    with bounded(server, acme):
        request = head(acme, f"Content-Length: {said}") + b'{"title": "x"}'
        assert first_line(server, request).split()[1] == status


def test_the_rest_of_a_body_that_was_said_to_be_shorter_is_no_request_of_anybodys(
    server: Server, acme: User
) -> None:
    smuggled = head(acme, "Content-Length: 14") + b'{"title": "x"}'
    with (
        bounded(server, acme),
        socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection,
    ):
        connection.sendall(head(acme, "Content-Length: 4", "Transfer-Encoding: chunked") + smuggled)
        answered = connection.recv(4096)
        assert answered.startswith(b"HTTP/1.1 400 ")
        assert answered.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    "body",
    [
        b'{"title":' + b"[" * (MIB - 100),
        b'{"title":' * (MIB // 10),
        b'{"title": [' + b"{}," * (MIB // 4) + b"{}]}",
        b'{"title": "' + b"\\u0041" * (MIB // 7) + b'"}',
        b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(MIB // 16)) + b"}",
    ],
    ids=["deep lists", "deep objects", "many objects", "escapes", "many keys"],
)
def test_bodies_that_unfold_take_bounded_memory(server: Server, acme: User, body: bytes) -> None:
    assert len(body) <= MIB
    request = head(acme, f"Content-Length: {len(body)}") + body
    with bounded(server, acme), ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in range(ROUNDS):
            lines = list(pool.map(lambda _: first_line(server, request), range(AT_ONCE)))
            assert {line.split()[1] for line in lines} <= {"400", "422", "429"}, lines


def test_a_compressed_body_is_not_unpacked(server: Server, acme: User) -> None:
    """A gigabyte of spaces is a megabyte: no content coding is taken."""
    bomb = gzip.compress(b" " * (64 * MIB))
    packed = gzip.compress(json.dumps({"title": "x"}).encode())
    with bounded(server, acme):
        for body in (bomb, packed):
            lines = ("Content-Encoding: gzip", f"Content-Length: {len(body)}")
            assert first_line(server, head(acme, *lines) + body).split()[1] == "415"


def test_a_head_that_is_too_large_is_refused(server: Server, acme: User) -> None:
    many = [f"X-Header-{number}: x" for number in range(5000)]
    with bounded(server, acme):
        for request, status in (
            (b"GET /healthz?" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "414"),
            (head(acme, *many), "431"),
            (head(acme, "X-Long: " + "x" * 100_000), "431"),
            (b"GET /" + b"x" * 8000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", "404"),
        ):
            assert first_line(server, request).split()[1] == status
        # One that never ends is refused before it has filled the memory.
        line = first_line(server, b"GET /healthz HTTP/1.1\r\n", b"X-Header: x\r\n" * 1000)
        assert line[:12] in ("HTTP/1.1 431", "hung up")
        line = first_line(server, b"GET /healthz HTTP/1.1\r\nX-Long: ", b"x" * 10_000)
        assert line[:12] in ("HTTP/1.1 431", "hung up")
