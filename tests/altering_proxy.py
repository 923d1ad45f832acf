"""A server between the platform and a real mongod, which alters what the latter answers."""

import socket
from collections.abc import Callable
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion

from tests.mongodb_wire import HEAD, OP_REPLY, WireServer, command_in, read_message

LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    datetime_conversion=DatetimeConversion.DATETIME_MS, unicode_decode_error_handler="replace"
)
Document = dict[str, Any]
Alter = Callable[[Document, Document], Document | bytes | None]
"""From a command and its answer to another answer; bytes are a whole body of BSON. None closes the
connection."""


class AlteringProxy(WireServer):
    """Passes everything on to the server at `port` of 127.0.0.1."""

    def __init__(self, port: int, alter: Alter = lambda _, answer: answer) -> None:
        super().__init__()
        self.alter = alter
        self._target = port

    def serve(self, connection: socket.socket) -> None:
        """Pass commands on for as long as both sides talk."""
        behind = socket.create_connection(("127.0.0.1", self._target))
        with self.ended_with_us(behind):
            while True:
                request = read_message(connection)
                behind.sendall(request)
                command = bson.decode(command_in(request), LENIENT)
                connection.sendall(self._altered(command, read_message(behind)))

    def _altered(self, command: Document, message: bytes) -> bytes:
        _, number, request, code = HEAD.unpack_from(message)
        start = 36 if code == OP_REPLY else 21
        answer = bson.decode(message[start:], LENIENT)
        if "setName" in answer:  # else the client would go to the real server
            itself = f"127.0.0.1:{self.port}"
            answer |= {"hosts": [itself], "primary": itself, "me": itself}
        altered = self.alter(command, answer)
        if altered is None:
            raise EOFError
        body = altered if isinstance(altered, bytes) else bson.encode(altered)
        head = HEAD.pack(start + len(body), number, request, code)
        return head + message[HEAD.size : start] + body
