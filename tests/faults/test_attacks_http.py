"""What HTTP itself offers to attackers, on real gunicorn workers of both classes, byte by byte:
smuggled requests, headers that claim to be somebody else's, and lines for the log."""

import json
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from tests import plain_http
from tests.conftest import own_environment
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.support import PASSWORD

JSON = b"Content-Type: application/json\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /api/login HTTP/1.1\r\nHost: x\r\n" + JSON
GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"0\r\n\r\n" + SMUGGLED


@pytest.fixture(scope="module", params=["json gevent", "console gthread"])
def gunicorn(
    request: pytest.FixtureRequest,
    mongod: EmbeddedServer,
    mongo: MongoClient[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Server]:
    """A server with two tenants, for each format of the log and each class of worker."""
    log_format, worker_class = request.param.split()
    directory = tmp_path_factory.mktemp("gunicorn")
    with own_environment(mongod, mongo, directory) as environment:
        changed = environment | {
            "WORKERS": "1",
            "WORKER_CLASS": worker_class,
            "LOG_FORMAT": log_format,
        }
        with Server(MULTITENANT_RUN, changed, directory) as server:
            server.wait_until_ready()
            yield server


@pytest.fixture(scope="module")
def ids() -> dict[str, str]:
    """The ids of Acme and Globex, once they are there."""
    return {}


@pytest.fixture(scope="module")
def owners(gunicorn: Server, ids: dict[str, str]) -> Iterator[dict[str, httpx.Client]]:
    """The owners of Acme and Globex, whose subdomains are as their names."""
    with gunicorn.login() as operator:
        for name in ("Acme", "Globex"):
            gunicorn.add_tenant(name)
            listed = operator.get(f"/api/tenants?q={name}").json()["responseObject"]["items"]
            ids[name.lower()] = listed[0]["id"]
            path = f"/api/tenants/{listed[0]['id']}"
            assert operator.patch(path, json={"subdomain": name.lower()}).status_code == 200
    owners = {
        name: gunicorn.login(f"owner@{name.lower()}.example", PASSWORD)
        for name in ("Acme", "Globex")
    }
    yield owners
    for owner in owners.values():
        owner.close()


def send(server: Server, data: bytes) -> bytes:
    """Send bytes on a connection of their own; return the first answer, whole."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(data)
        answer = connection.recv(65536)
        while (length := re.search(rb"\r\nContent-Length: (\d+)\r\n", answer)) and (
            len(answer.partition(b"\r\n\r\n")[2]) < int(length[1])
        ):
            answer += connection.recv(65536)
        return answer


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


SMUGGLING = {
    "length and chunks": POST
    + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKED,
    "chunks and length": POST
    + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
    + CHUNKED,
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 40\r\n\r\n{}" + SMUGGLED,
    "two lengths in one": POST + b"Content-Length: 2, 40\r\n\r\n{}" + SMUGGLED,
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}" + SMUGGLED,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}" + SMUGGLED,
    "a length in other digits": POST + "Content-Length: ²\r\n\r\n{}".encode() + SMUGGLED,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n" + CHUNKED,
    "chunks that are not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + CHUNKED,
    "chunks twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKED,
    "a coding behind a strange space": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKED,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKED,
    "a folded header": GET + b"X: a\r\n Transfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    "a header without a colon": GET + b"Transfer-Encoding\r\n\r\n" + SMUGGLED,
    "a header without a name": GET + b": x\r\n\r\n" + SMUGGLED,
    "a space in a name": GET + b"Content Length: 5\r\n\r\n" + SMUGGLED,
    "NUL in a header": GET + b"X: a\x00b\r\n\r\n" + SMUGGLED,
    "a bare CR in a header": GET + b"X: a\rTransfer-Encoding: chunked\r\n\r\n" + SMUGGLED,
    "another protocol": b"GET /healthz HTTP/9.9\r\nHost: x\r\n\r\n" + SMUGGLED,
    "no protocol": b"GET /healthz\r\n" + SMUGGLED,
}


@pytest.mark.slow
def test_what_could_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    gunicorn: Server,
) -> None:
    for what, request in SMUGGLING.items():
        assert 400 <= status(send(gunicorn, request)) <= 505, what
    plain_http.get(f"{gunicorn.url}/healthz")  # which is logged behind them
    assert paths(gunicorn)[-1] == "/healthz"
    assert "/smuggled" not in paths(gunicorn)


def paths(server: Server) -> list[str]:
    """The paths of all requests that have reached the application."""
    pattern = r'"path":"([^"]*)"|multitenant\.access request \w+ (\S+)'
    return [one or other for one, other in re.findall(pattern, server.log)]


SAME, OTHER, NEITHER = "acme.localhost", "globex.localhost", "evil.example"


# Behind a target without a host.
HEADS = [
    (f"Host: {SAME}", {200}),
    (f"Host: {SAME}:1", {200}),
    ("Host: ACME.LocalHost.", {200}),
    (f"Host: {OTHER}", {403}),
    (f"Host: {OTHER}:80", {403}),
    (f"Host: {OTHER.upper()}.:5000", {403}),
    # What is no host name names nobody: the token decides, as on a bare host.
    (f"Host: {SAME}@{OTHER}", {200, 400}),
    (f"Host: {OTHER}#{SAME}", {200, 400}),
    (f"Host: {OTHER}, {SAME}", {200, 400}),
    (f"Host: {SAME}\r\nHost: {OTHER}", {200, 400}),
    (f"Host: {OTHER}\r\nHost: {SAME}", {200, 400}),
    ("Host: \u0261lobex.localhost", {200, 400}),
    ("Host: xn--lobex-qmc.localhost", {403}),
    (f"Host: {NEITHER}", {200}),
    ("Host: [::1]:5000", {200}),
    ("Host: ", {200, 400}),
    # Nobody is a proxy unless TRUSTED_PROXIES says so, and even then these say nothing.
    (f"Host: {SAME}\r\nX-Forwarded-Host: {OTHER}", {200}),
    (f"Host: {OTHER}\r\nX-Forwarded-Host: {SAME}", {403}),
    (f"Host: {SAME}\r\nForwarded: host={OTHER};for=198.51.100.1", {200}),
    (f"Host: {SAME}\r\nX-Original-URL: /api/tenants\r\nX-Rewrite-URL: /api/tenants", {200}),
    (f"Host: {SAME}\r\nX-Tenant-Id: {{acme}}\r\nX-Tenant-Id: {{globex}}", {403}),
    (f"Host: {SAME}\r\nX-Tenant-Id: {{globex}}\r\nX-Tenant-Id: {{acme}}", {403}),
    (f"Host: {SAME}\r\nX_Tenant_Id: {{globex}}", {200, 400}),
    (f"Host: {SAME}\r\nX-Tenant-Id:\u00a0{{acme}}", {403}),
]


@pytest.mark.slow
def test_whatever_the_headers_claim_the_answer_is_of_the_tokens_tenant_or_a_refusal(
    gunicorn: Server, owners: dict[str, httpx.Client], ids: dict[str, str]
) -> None:
    token = owners["Acme"].headers["Authorization"]
    path = "/api/users/me"
    requests = [(head, path, answered) for head, answered in HEADS]
    # A host in the target counts, and what the Host header says does not (RFC 9112, 3.2.2).
    for head, _ in HEADS:
        mismatch = "\nX-Tenant-Id" in head
        requests.append((head, f"http://{OTHER}{path}", {403, 400}))
        requests.append((head, f"https://{SAME}:8080{path}", {403} if mismatch else {200, 400}))
        requests.append((head, f"HTTP://[::1]{path}", {403} if mismatch else {200, 400}))
    for head, target, answered in requests:
        lines = (f"GET {target} HTTP/1.1", head.format(**ids), f"Authorization: {token}", "", "")
        answer = send(gunicorn, "\r\n".join(lines).encode())
        assert status(answer) in answered, (head, target, answer)
        if status(answer) == 200:
            assert b"owner@acme.example" in answer, (head, target, answer)
        for name in (NEITHER, OTHER):
            assert name.encode() not in answer, "no answer repeats a host"


def test_no_header_makes_another_method_of_a_request(owners: dict[str, httpx.Client]) -> None:
    owner = owners["Acme"]
    headers = dict.fromkeys(
        ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"), "DELETE"
    )
    item = owner.post("/api/to-do-list", json={"title": "stays"}).json()["responseObject"]
    path = f"/api/to-do-list/{item['id']}"
    assert owner.get(path, headers=headers).status_code == 200
    assert owner.get(f"{path}?_method=DELETE").status_code == 422
    assert owner.post(path, json={}, headers=headers).status_code == 405
    assert owner.get(path).status_code == 200


def test_an_address_is_what_the_socket_says(
    gunicorn: Server, owners: dict[str, httpx.Client]
) -> None:
    names = ("X-Forwarded-For", "X-Real-IP", "X-Client-IP", "CF-Connecting-IP", "Forwarded")
    spoofed = dict.fromkeys(names, "198.51.100.1")
    owners["Acme"].get("/api/users/me", headers=spoofed)
    assert "198.51.100.1" not in gunicorn.log


FORGED = "12:00:00 CRITICAL forged"
LINE = "\r\n" + FORGED
JSON_LINE = '"}\n{"level":"CRITICAL","message":"forged"}'
HOSTILE = [
    LINE,
    "\n" + FORGED,
    "\x1b[2J\x1b[31m" + FORGED,
    JSON_LINE,
    "\u2028" + FORGED,
    "\x85x",
    "%s%n",
]


def test_nobody_writes_a_line_into_the_log(
    gunicorn: Server, owners: dict[str, httpx.Client]
) -> None:
    """In the path, the method, the query, the headers that are logged, the email; and in what is
    no HTTP at all, which gunicorn itself logs."""
    owner = owners["Acme"]
    for text in HOSTILE:
        owner.get(f"/api/{httpx.URL('http://x', params={'q': text}).query.decode()}")
        quoted = "".join(f"%{byte:02x}" for byte in text.encode())
        owner.get(f"/api/to-do-list/{quoted}?q={quoted}")
        body = {"email": f"x{text}@acme.example", "password": "not this one"}
        assert plain_http.post(f"{gunicorn.url}/api/login", json=body).status_code in (401, 422)
        for name in ("X-Request-ID", "User-Agent", "Referer", "X-Forwarded-For", "Authorization"):
            raw = f"GET /healthz HTTP/1.1\r\nHost: x\r\n{name}: {text}\r\n\r\n".encode()
            send(gunicorn, raw)
        send(gunicorn, f"GET /{text} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        send(gunicorn, f"G{text} / HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    send(gunicorn, b"GET /" + b"x" * 7000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    plain_http.get(f"{gunicorn.url}/healthz")

    lines = gunicorn.log.split("\n")
    assert len(lines) > 50
    for line in lines:
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", line), line
        assert len(line) < 40_000
    records = [line for line in lines if line.startswith("{")]
    for record in map(json.loads, records):
        assert record["level"] in ("INFO", "WARNING", "ERROR"), record
    if not records:
        shape = re.compile(r"\d\d:\d\d:\d\d (INFO|WARNING|ERROR) +\w[\w.]* ")
        said = ("", "Serving on ", "Made the first operator", "Applied ")
        wrong = [line for line in lines if not shape.match(line) and not line.startswith(said[1:])]
        assert [line for line in wrong if line] == []
