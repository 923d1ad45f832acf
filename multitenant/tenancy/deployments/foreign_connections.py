"""Connections to servers of somebody else, which take no more than a genuine server sends.

What a server says of itself is not believed: all genuine ones say the same about sizes. And a few
bytes of BSON may be a large object in Python, so what is decoded at once is bounded as well.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from types import FunctionType
from typing import Any

from bson.errors import InvalidBSON
from pymongo.common import MAX_BSON_SIZE, MAX_WRITE_BATCH_SIZE
from pymongo.errors import ProtocolError
from pymongo.hello import Hello
from pymongo.message import _OpMsg
from pymongo.synchronous.pool import Connection, Pool

from multitenant.repositories.bounded_reads import fields

CONNECT_SECONDS = 10.0
"""For connecting, a TLS handshake, and logging in."""
MAX_HELLO_BYTES = 64 * 1024
"""What a server says of itself and the others of its deployment."""
MAX_REPLY_BYTES = MAX_BSON_SIZE + 64 * 1024
"""The most that a genuine server sends at a time: a document of the greatest size, and a head."""
MAX_HEAD_BYTES = 2**20
"""What a reply has beside the documents that were asked for."""
MAX_DOCUMENTS = 10_000
"""Of one reply to a request, which never asks for that many."""
BATCHES = frozenset({"firstBatch", "nextBatch"})


class BoundedConnection(Connection):
    """Refuses a reply that is larger than it may be, before it is decoded."""

    max_documents: int | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.max_message_size = MAX_HELLO_BYTES

    def _hello(self, *args: Any, **options: Any) -> Hello[dict[str, Any]]:
        self.max_message_size = MAX_HELLO_BYTES
        hello = super()._hello(*args, **options)
        self.max_bson_size = MAX_BSON_SIZE
        self.max_message_size = MAX_REPLY_BYTES
        self.max_write_batch_size = MAX_WRITE_BATCH_SIZE
        return hello

    def receive_message(self, request_id: int | None) -> _OpMsg:
        """See Connection."""
        message = super().receive_message(request_id)
        if len(message.payload_document) > MAX_HEAD_BYTES:
            try:
                _ensure_bounded(*_whole(message.payload_document), self.max_documents)
            except (InvalidBSON, ProtocolError) as error:
                self._raise_connection_failure(ProtocolError(f"The reply is no reply: {error}"))
        return message


class RequestConnection(BoundedConnection):
    """The same, for requests."""

    max_documents = MAX_DOCUMENTS


def _connecting(kind: type[Connection]) -> Callable[..., Connection]:
    """Return Pool.connect() with this class instead of its own: nothing in PyMongo names one."""
    original: Any = Pool.connect
    names = {**original.__globals__, Connection.__name__: kind}
    return FunctionType(original.__code__, names, argdefs=original.__defaults__)


class BoundedPool(Pool):
    """A pool of such connections, for the work of operators, who may copy large collections."""

    _connected = _connecting(BoundedConnection)

    def connect(self, *args: Any, **options: Any) -> Connection:
        """See Pool."""
        with limited(CONNECT_SECONDS):
            return self._connected(*args, **options)


class RequestPool(BoundedPool):
    """A pool of such connections, for requests."""

    _connected = _connecting(RequestConnection)


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeoutError when the block takes longer under gevent, where each step of a TLS
    handshake has all the time that the whole of it has in a thread."""
    if "gevent" not in sys.modules:
        yield
        return
    import gevent

    with gevent.Timeout(seconds, TimeoutError("Connecting took too long")):
        yield


def _whole(reply: bytes | memoryview) -> tuple[bytes | bytearray, int]:
    """Return what the reply is a view of, which may be searched, and where it begins there: a copy
    would take as much memory once more."""
    whole = reply.obj if isinstance(reply, memoryview) else reply
    assert isinstance(whole, bytes | bytearray)
    return whole, len(whole) - len(reply)


def _ensure_bounded(raw: bytes | bytearray, at: int, max_documents: int | None) -> None:
    """Raise ProtocolError when the reply that begins at that place is large beside the documents
    in it, or has too many of them."""
    head = 0
    for field in fields(raw, at):
        if field.name == "cursor":
            _ensure_few(raw, field.value, max_documents)
        elif field.name != "value":  # the one document of findAndModify
            head += field.end - field.start
    if head > MAX_HEAD_BYTES:
        raise ProtocolError(f"it has {head} bytes beside documents")


def _ensure_few(raw: bytes | bytearray, at: int, max_documents: int | None) -> None:
    for field in fields(raw, at):
        if field.name in BATCHES and max_documents is not None:
            documents = islice(fields(raw, field.value), max_documents + 1)
            if sum(1 for _ in documents) > max_documents:
                raise ProtocolError(f"it has more than {max_documents} documents")
        elif field.name not in BATCHES and field.end - field.start > MAX_HEAD_BYTES:
            raise ProtocolError(f"its cursor has {field.end - field.start} bytes beside documents")
