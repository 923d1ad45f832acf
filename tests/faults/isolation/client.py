"""What is said between the machine and the workers: tokens, requests, answers.

Requests come on fresh connections, which any worker may accept, or on a line: one connection that
is kept to one worker, so that each can be asked."""

import base64
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Self

TIMEOUT_SECONDS = 60.0
"""Longer than a stall of the machine; nothing is expected to take it."""
CONNECT_SECONDS = 30.0
"""To find each worker."""
IDS = re.compile(r"(?<![0-9a-f])[0-9a-f]{24}(?![0-9a-f])")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its holder can read it."""

    text: str = field(repr=False)
    type: str
    id: str
    family: str
    user_id: str
    tenant_id: str
    role: str
    version: int
    operator_family: str | None
    """The session of the operator who acts as the user."""

    @classmethod
    def read(cls, text: str) -> Self:
        payload = text.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return cls(
            text,
            claims["type"],
            claims["jti"],
            claims["fam"],
            claims["sub"],
            claims["tenantId"],
            claims["role"],
            claims["ver"],
            claims["act"]["fam"] if "act" in claims else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. `kind` is what the model knows it by, `about` what it is about: an id, a key, an
    email."""

    kind: str
    method: str = "GET"
    path: str
    token: Token | None = None
    body: Any = field(default=None, repr=False)
    about: str = ""
    named: str | None = None
    """`X-Tenant-Id`."""
    host: str | None = None
    """Without it an address, which names no tenant."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    object: Any
    """`responseObject`."""
    text: str

    @property
    def code(self) -> str | None:
        return self.object.get("code") if self.status >= 400 else None

    def ids(self) -> set[str]:
        """All that look like ids of documents."""
        return set(IDS.findall(self.text))

    def __str__(self) -> str:
        return f"{self.status} {self.code or ''} {self.text[:600]}"


class Wire:
    """Sends requests to one server, and counts them."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._lock = threading.Lock()
        self.sent = 0

    @contextmanager
    def connection(self) -> Iterator[HTTPConnection]:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_SECONDS)
        try:
            yield connection
        finally:
            connection.close()

    def send(self, request: Request) -> Answer:
        """Send it on a connection of its own."""
        with self.connection() as connection:
            return self.send_on(connection, request)

    def send_on(self, connection: HTTPConnection, request: Request) -> Answer:
        headers = {
            "Host": f"{request.host or '127.0.0.1'}:{self._port}",
            "Content-Type": "application/json",
        }
        if request.token:
            headers["Authorization"] = f"Bearer {request.token.text}"
        if request.named is not None:
            headers["X-Tenant-Id"] = request.named
        body = None if request.body is None else json.dumps(request.body)
        with self._lock:
            self.sent += 1
        connection.request(request.method, request.path, body, headers)
        response = connection.getresponse()
        return _answer(response.status, dict(response.headers), response.read().decode())


def _answer(status: int, headers: Mapping[str, str], text: str) -> Answer:
    """Read an answer, and check what all of them have."""
    body = json.loads(text)
    assert set(body) == {"success", "statusCode", "message", "responseObject"}, text
    assert (body["statusCode"], body["success"]) == (status, status < 400), text
    assert ("Retry-After" in headers) == (status in (429, 503)), text
    assert ("WWW-Authenticate" in headers) == (status == 401), text
    return Answer(status, body["responseObject"], text)


class Line:
    """A connection that is kept to one worker; a new one to the same where it was closed."""

    def __init__(self, wire: Wire, operator: Token, process: int, connection: HTTPConnection):
        self._wire = wire
        self._operator = operator
        self._connection = connection
        self.process = process

    def send(self, request: Request) -> Answer:
        """Send what may be sent again."""
        try:
            return self._wire.send_on(self._connection, request)
        except (OSError, HTTPException):
            self.close()
            found = find_worker(self._wire, self._operator, {self.process})
            self._connection = found[self.process]
            return self._wire.send_on(self._connection, request)

    def close(self) -> None:
        self._connection.close()


def open_lines(wire: Wire, operator: Token, processes: set[int]) -> list[Line]:
    """A line to each of the workers."""
    found = find_worker(wire, operator, processes)
    return [Line(wire, operator, process, found[process]) for process in sorted(found)]


def find_worker(wire: Wire, operator: Token, processes: set[int]) -> dict[int, HTTPConnection]:
    """A connection to each of these workers, by asking whoever accepts one."""
    deadline = time.monotonic() + CONNECT_SECONDS
    found: dict[int, HTTPConnection] = {}
    others: list[HTTPConnection] = []
    try:
        while set(found) != processes:
            assert time.monotonic() < deadline, f"no connection reached {processes - set(found)}"
            connection = HTTPConnection("127.0.0.1", wire._port, timeout=TIMEOUT_SECONDS)
            process = wire.send_on(connection, connections(operator)).object["process"]
            if process in processes and process not in found:
                found[process] = connection
            else:
                others.append(connection)
    finally:
        for connection in others:
            connection.close()
    return found


def connections(operator: Token) -> Request:
    """What a worker has open, and which it is."""
    return Request(kind="connections", path="/api/connections", token=operator)
