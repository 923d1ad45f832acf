"""A server between the platform and a real mongod, which alters what the latter answers."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
Document = dict[str, Any]
Alter = Callable[[Document, Document], Document | bytes | None]
"""From a command and its answer to another answer; bytes are a whole body of BSON. None closes the
connection."""


class AlteringProxy:
    """Listens on a port of 127.0.0.1 and passes everything on to the server at `port`."""

    def __init__(self, port: int, alter: Alter = lambda _, answer: answer) -> None:
        self.alter = alter
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
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
        while True:
            try:
                connection, _ = self._listening.accept()
                behind = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open |= {connection, behind}
            thread = threading.Thread(target=self._serve, args=(connection, behind), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, behind: socket.socket) -> None:
        try:
            with connection, behind, contextlib.suppress(OSError, EOFError):
                while True:
                    request = _message(connection)
                    behind.sendall(request)
                    answer = self._altered(_command(request), _message(behind))
                    if answer is None:
                        return
                    connection.sendall(answer)
        finally:
            with self._lock:
                self._open -= {connection, behind}

    def _altered(self, command: Document, message: bytes) -> bytes | None:
        _, number, request, code = struct.unpack_from("<iiii", message)
        start = 36 if code == OP_REPLY else 21
        answer = bson.decode(message[start:], LENIENT)
        if "setName" in answer:  # else the client would go to the real server
            itself = f"127.0.0.1:{self.port}"
            answer |= {"hosts": [itself], "primary": itself, "me": itself}
        altered = self.alter(command, answer)
        if altered is None:
            return None
        body = altered if isinstance(altered, bytes) else bson.encode(altered)
        size = start + len(body)
        return struct.pack("<iiii", size, number, request, code) + message[16:start] + body


def _command(message: bytes) -> Document:
    """The command in a message, with the documents that follow it left out."""
    code = struct.unpack_from("<i", message, 12)[0]
    # Behind the flags and a kind, or behind flags, a name and two numbers.
    start = 21 if code == OP_MSG else message.index(b"\0", 20) + 9
    size = struct.unpack_from("<i", message, start)[0]
    return bson.decode(message[start : start + size], LENIENT)


def _message(connection: socket.socket) -> bytes:
    head = _exactly(connection, 16)
    return head + _exactly(connection, struct.unpack_from("<i", head)[0] - 16)


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
