"""Forms of requests that only a real server sees, byte by byte, and clients of a Unix socket."""

import json
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from multitenant.embedded import EmbeddedServer
from tests import plain_http
from tests.conftest import Client, FirstStarts, check_databases, variables_of
from tests.e2e.server import GUNICORN, Server, free_port
from tests.first_start import fresh_name
from tests.support import PASSWORD, PATIENCE_SECONDS, eventually

LOGINS = 6
WEB_SOCKET = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@dataclass
class Listening:
    """A server, and the file of its Unix socket."""

    server: Server
    path: str
    tokens: dict[str, str]

    def send(self, request: str | bytes) -> tuple[int, Any]:
        """Send bytes; return the status of the answer and its object."""
        data = request.encode() if isinstance(request, str) else request
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=60) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        head, _, body = answer.partition(b"\r\n\r\n")
        is_json = b"application/json" in head
        return int(head.split()[1]), json.loads(body)["responseObject"] if is_json else None

    def log_in(self, address: str, *, email: str) -> int:
        """Try to log in through a proxy that speaks of this address; return the status."""
        body = {"email": email, "password": "not this one"}
        with self.connect() as proxy:
            headers = {"X-Forwarded-For": address}
            return proxy.post("http://app/api/login", json=body, headers=headers).status_code

    def connect(self) -> httpx.Client:
        """A proxy in front, on this machine."""
        transport = httpx.HTTPTransport(uds=self.path, verify=plain_http.DEFAULTS["verify"])
        return httpx.Client(transport=transport, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def listening(
    mongod: EmbeddedServer,
    mongo: Client,
    first_starts: FirstStarts,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Listening]:
    """A worker that listens on a port and on a Unix socket, and the tenants Acme and Globex."""
    directory = tmp_path_factory.mktemp("forms")
    with tempfile.TemporaryDirectory() as short, first_starts.borrow(mongod, mongo) as start:
        environment = variables_of(mongod.uri, fresh_name(), directory) | {
            "ADMIN_DB_NAME": start.admin_db_name,
            "PORT": str(free_port()),
            "WORKERS": "1",
            "WORKER_CLASS": "gevent",
            "TRUSTED_PROXIES": "unix:",
            "LOGIN_RATE_LIMIT": f"{LOGINS} per minute",
        }
        path = f"{short}/socket"
        binds = ("--bind", f"127.0.0.1:{environment['PORT']}", "--bind", f"unix:{path}")
        with Server((*GUNICORN, *binds, "wsgi:app"), environment, directory) as server:
            server.wait_until_ready()
            tokens = {}
            with server.login() as operator:
                for name in ("acme", "globex"):
                    server.add_tenant(name)
                    listed = operator.get(f"/api/tenants?q={name}").json()["responseObject"]
                    target = f"/api/tenants/{listed['items'][0]['id']}"
                    assert operator.patch(target, json={"subdomain": name}).status_code == 200
            for name in ("acme", "globex"):
                with server.login(f"owner@{name}.example", PASSWORD) as owner:
                    tokens[name] = owner.headers["Authorization"]
            yield Listening(server, path, tokens)
        check_databases(mongo, environment)


def test_clients_of_a_unix_socket_are_told_apart_by_what_the_proxy_says(
    listening: Listening,
) -> None:
    for port in range(LOGINS):
        assert listening.log_in(f"203.0.113.7:{51234 + port}", email=f"{port}@x.example") == 401
    assert listening.log_in("203.0.113.7:1", email="last@x.example") == 429
    assert listening.log_in("203.0.113.8", email="last@x.example") == 401
    assert listening.log_in("[2001:db8::1]:443", email="last@x.example") == 401
    assert '"ip":"203.0.113.7"' in listening.server.log
    assert "count as one" not in listening.server.log


def test_several_headers_are_one_list(listening: Listening) -> None:
    with listening.connect() as proxy:
        hops = ["198.51.100.1", "203.0.113.9:4711"]
        proxy.get("http://app/healthz", headers=[("X-Forwarded-For", hop) for hop in hops])
    eventually(lambda: '"ip":"203.0.113.9"' in listening.server.log)
    assert "198.51.100.1" not in listening.server.log


def test_the_host_of_an_absolute_target_counts(listening: Listening) -> None:
    """And the Host header does not, as RFC 9112 (3.2.2) has it."""
    for target, host, owner, status, code in (
        ("http://acme.localhost", "globex.localhost", "acme", 200, None),
        ("http://globex.localhost", "acme.localhost", "acme", 403, "tenant_mismatch"),
        ("HTTP://ACME.localhost:1", "globex.localhost", "acme", 200, None),
        ("https://acme.localhost", "acme.localhost", "globex", 403, "tenant_mismatch"),
        ("http://localhost", "globex.localhost", "acme", 200, None),
        ("http://[::1]:5000", "globex.localhost", "acme", 200, None),
        ("http://[", "globex.localhost", "acme", 200, None),
        ("", "globex.localhost", "acme", 403, "tenant_mismatch"),
        ("", "acme.localhost", "acme", 200, None),
    ):
        request = (
            f"GET {target}/api/users/me HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n"
            f"Authorization: {listening.tokens[owner]}\r\n\r\n"
        )
        answered, found = listening.send(request)
        if target.endswith("[") and answered == 400:
            continue  # gunicorn's own refusal
        assert (answered, found.get("code")) == (status, code), (target, host)


def test_an_upgrade_is_ignored(listening: Listening) -> None:
    for upgrade in (WEB_SOCKET, "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"):
        head = f" HTTP/1.1\r\nHost: localhost\r\n{upgrade}"
        assert listening.send(f"GET /healthz{head}\r\n") == (200, {"status": "ok"})
        assert listening.send(f"GET /api/users/me{head}\r\n")[1]["code"] == "token_missing"
        token = f"Authorization: {listening.tokens['acme']}\r\n\r\n"
        assert listening.send(f"GET /api/users/me{head}{token}")[0] == 200
        assert listening.send(f"GET /nothing{head}\r\n")[1]["code"] == "not_found"


def test_a_body_in_chunks_that_nobody_reads_is_refused_as_any_other(listening: Listening) -> None:
    head = (
        f"/api/users/me HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Authorization: {listening.tokens['acme']}\r\n"
        "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    for chunks, status in (
        ("0\r\n\r\n", 200),
        ("2\r\n{}\r\n0\r\n\r\n", 200),
        ('7\r\n{"x":1}\r\n0\r\n\r\n', 422),
        ("1\r\n{\r\n0\r\n\r\n", 400),
        ("zz\r\n{}\r\n0\r\n\r\n", 400),
    ):
        assert listening.send(f"GET {head}{chunks}")[0] == status, chunks


@pytest.mark.parametrize(
    ("line", "statuses"),
    [
        (b"GET /healthz?\xff=1", {400, 422}),
        (b"GET /healthz?q=\xc3\xa9", {400, 422}),
        (b"GET /healthz?", {200}),
        (b"GET /healthz#x", {200, 400}),
        (b"GET ?x", {400, 404, 422}),
        (b"GET *", {400, 404}),
        (b"OPTIONS *", {200, 400, 404}),
        (b"CONNECT localhost:1", {400, 404, 405}),
        (b"GET http:///healthz", {200, 400, 404}),
        (b"GET ftp://x/healthz", {200, 400, 404}),
        (b"GET //evil.example/healthz", {400, 404}),
        (b"GET /healthz/../api/users/me", {400, 404}),
        (b"GET /%2e%2e/healthz", {400, 404}),
    ],
)
def test_no_form_of_the_request_line_is_an_error_of_ours(
    listening: Listening, line: bytes, statuses: set[int]
) -> None:
    answered, _ = listening.send(line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answered in statuses
