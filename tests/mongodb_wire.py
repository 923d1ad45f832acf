"""A server for tests that speaks MongoDB's wire protocol: its messages, and its connections."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Self

OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
HEAD = struct.Struct("<iiii")
"""Of a message: its length, its number, the number of the one it answers, and the kind."""


class WireServer:
    """Listens on a port of 127.0.0.1 for a `with` block, and serves each connection in a thread."""

    def __init__(self) -> None:
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

    def serve(self, connection: socket.socket) -> None:
        """Talk until an OSError, or an EOFError, ends it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def ended_with_us(self, connection: socket.socket) -> Iterator[None]:
        """Close the connection after the block, or when the server ends."""
        with self._lock:
            self._open.add(connection)
        try:
            with connection:
                yield
        finally:
            with self._lock:
                self._open.discard(connection)

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
        self._threads[0].join()
        with self._lock:
            left = [*self._open]
        for connection in left:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while not self._ended:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.accepted += 1
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), self.ended_with_us(connection):
            while not self._ended:
                self.serve(connection)


def read_message(connection: socket.socket) -> bytes:
    """Read one message, its head included; raises EOFError where there is none any more."""
    head = _read(connection, HEAD.size)
    return head + _read(connection, HEAD.unpack(head)[0] - HEAD.size)


def command_in(message: bytes) -> bytes:
    """Return the BSON of the command in a message, without the documents that follow it."""
    # Behind the flags and a kind, or behind flags, a name and two numbers.
    is_msg = HEAD.unpack_from(message)[3] == OP_MSG
    start = HEAD.size + 5 if is_msg else message.index(b"\0", HEAD.size + 4) + 9
    size = struct.unpack_from("<i", message, start)[0]
    return message[start : start + size]


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
