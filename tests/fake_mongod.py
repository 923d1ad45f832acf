"""A server that speaks as much of MongoDB's protocol as a client asks before it logs in, and says
of itself whatever a test wants."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import bson

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013


class FakeMongod:
    """Listens on a port of 127.0.0.1; `answer(command)` makes each answer, and may return bytes."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any] | bytes]) -> None:
        self._answer = answer
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._ended = False
        self.port: int = self._listening.getsockname()[1]
        self.accepted = 0
        """How many connections there were."""
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def open(self) -> int:
        """How many connections there are."""
        return len(self._open)

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        self._ended = True
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            left = [*self._open]
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError, EOFError):
                while True:
                    connection.sendall(self._reply(*_read(connection)))
        finally:
            with self._lock:
                self._open.discard(connection)

    def _reply(self, request: int, code: int, command: dict[str, Any]) -> bytes:
        answer = self._answer(command)
        body = answer if isinstance(answer, bytes) else bson.encode(answer)
        if code == OP_QUERY:
            head, code = struct.pack("<iqii", 8, 0, 0, 1), OP_REPLY
        else:
            head = struct.pack("<iB", 0, 0)
        return struct.pack("<iiii", 16 + len(head) + len(body), 0, request, code) + head + body


def hello(port: int, **more: Any) -> dict[str, Any]:
    """What a primary says that is its replica set's only member."""
    said = {
        "ok": 1.0,
        "helloOk": True,
        "isWritablePrimary": True,
        "secondary": False,
        "setName": "rs",
        "setVersion": 1,
        "me": f"127.0.0.1:{port}",
        "primary": f"127.0.0.1:{port}",
        "hosts": [f"127.0.0.1:{port}"],
        "maxBsonObjectSize": 16 * 2**20,
        "maxMessageSizeBytes": 48_000_000,
        "maxWriteBatchSize": 100_000,
        "minWireVersion": 0,
        "maxWireVersion": 17,
        "logicalSessionTimeoutMinutes": 30,
    }
    return said | more


def _read(connection: socket.socket) -> tuple[int, int, dict[str, Any]]:
    length, request, _, code = struct.unpack("<iiii", _exactly(connection, 16))
    body = _exactly(connection, length - 16)
    # Behind the flags and a kind, or behind flags, a name and two numbers.
    start = 5 if code == OP_MSG else body.index(b"\0", 4) + 9
    size = struct.unpack_from("<i", body, start)[0]
    return request, code, bson.decode(body[start : start + size])


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
