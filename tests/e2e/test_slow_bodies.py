"""Requests whose body is still on its way while what they may do is withdrawn, behind gunicorn."""

import socket
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import MULTITENANT_RUN, Server
from tests.support import PASSWORD


@pytest.fixture(params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    """Each; what is promised here holds for both."""
    name: str = request.param
    return name


def begin(server: Server, client: httpx.Client, framing: bytes, sent: bytes) -> socket.socket:
    """Send the head of a request that adds a to-do, and the beginning of its body."""
    token = client.headers["Authorization"].encode()
    head = b"POST /api/to-do-list HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    connection.sendall(head + b"Authorization: " + token + b"\r\n" + framing + b"\r\n\r\n" + sent)
    return connection


def status_of(connection: socket.socket) -> bytes:
    with connection:
        return connection.recv(65536).split(b" ", 2)[1]


def test_what_is_withdrawn_while_a_body_comes_refuses_the_request(
    environment: dict[str, str], tmp_path: Path
) -> None:
    changed = environment | {"WORKERS": "1", "THREADS": "8"}
    with Server(MULTITENANT_RUN, changed, tmp_path) as server:
        server.wait_until_ready()
        email = server.add_tenant("Acme")
        with (
            server.login() as operator,
            server.login(email, PASSWORD) as owner,
            server.login(email, PASSWORD) as other,
        ):
            body = b'{"title": "Buy milk"}'
            length = b"Content-Length: %d" % len(body)
            chunked = b"Transfer-Encoding: chunked"
            chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)

            by_owner = [begin(server, owner, length, body[:5]), begin(server, owner, length, b"")]
            by_owner.append(begin(server, owner, chunked, chunks[:8]))
            assert owner.post("/api/logout").status_code == 200
            for connection, rest in zip(by_owner, (body[5:], body, chunks[8:]), strict=True):
                connection.sendall(rest)
                assert status_of(connection) == b"401"

            slow = begin(server, other, length, body[:5])
            tenants = operator.get("/api/tenants").json()["responseObject"]["items"]
            acme = next(tenant for tenant in tenants if tenant["name"] == "Acme")
            path = f"/api/tenants/{acme['id']}"
            assert operator.post(f"{path}/suspend").status_code == 200
            slow.sendall(body[5:])
            assert status_of(slow) == b"403"

            assert operator.post(f"{path}/activate").status_code == 200
            assert other.get("/api/to-do-list").json()["responseObject"]["items"] == []
