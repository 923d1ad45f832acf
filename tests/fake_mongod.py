"""A server that speaks as much of MongoDB's protocol as a client asks before it logs in, and says
of itself whatever a test wants."""

import socket
import struct
from collections.abc import Callable
from typing import Any

import bson

from tests.mongodb_wire import HEAD, OP_QUERY, OP_REPLY, WireServer, command_in, read_message


class FakeMongod(WireServer):
    """Answers each command with what `answer(command)` makes, which may be bytes."""

    def __init__(self, answer: Callable[[dict[str, Any]], dict[str, Any] | bytes]) -> None:
        super().__init__()
        self._answer = answer

    def serve(self, connection: socket.socket) -> None:
        """Answer one command."""
        message = read_message(connection)
        answer = self._answer(bson.decode(command_in(message)))
        body = answer if isinstance(answer, bytes) else bson.encode(answer)
        _, request, _, code = HEAD.unpack_from(message)
        if code == OP_QUERY:
            flags, code = struct.pack("<iqii", 8, 0, 0, 1), OP_REPLY
        else:
            flags = struct.pack("<iB", 0, 0)
        head = HEAD.pack(HEAD.size + len(flags) + len(body), 0, request, code)
        connection.sendall(head + flags + body)


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
