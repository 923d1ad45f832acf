"""gunicorn's gevent worker, bounded in what a client can hold, and patient where it hangs up.

Each connection has a greenlet, so a slow client costs little, but there are only so many places
(`worker_connections`), and gunicorn limits neither how long a body may take to arrive nor how long
an answer may take to be fetched. Here both are limited. So is the wait for the client to end its
side of the connection after the answer: without one, input that nobody read would cut it off.

A worker that ends closes its listening socket, and then serves the connections that it has
accepted, those too that wait for their turn. gunicorn asks the socket for its address once more for
each, which a closed one does not have, and hangs up on them; so the address is kept.

When every place is taken, the connection that has waited longest for a request makes room for the
next: clients that connect and send nothing do not keep out those that do.

A greenlet lets the others run when it has to wait, and one whose next bytes are there already never
has to. So a connection that did not wait for its next request waits for the others once.
"""

import contextlib
import os
import socket
from dataclasses import dataclass
from typing import Any

import gevent
from gevent import monkey
from gevent.thread import LockType
from gunicorn.workers.ggevent import GeventWorker as GunicornGeventWorker

from multitenant.serving.limits import (
    LINGER_SECONDS,
    MAX_DRAINED_BYTES,
    READ_SECONDS,
    WRITE_SECONDS,
)

ONE_TURN = 1e-9
"""Seconds for which to sleep until the event loop has looked once whom else it can serve."""


@dataclass(frozen=True)
class _Listener:
    """What gunicorn wants to know of a listening socket, whether it is closed by now or not."""

    address: Any

    def getsockname(self) -> Any:
        """The address on which it listened."""
        return self.address


class GeventWorker(GunicornGeventWorker):  # type: ignore[misc]  # gunicorn has no type hints
    """The worker class for `WORKER_CLASS=gevent`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sockets: list[Any]
        self._listeners: dict[Any, _Listener] = {}
        self._count = 0
        """How many connections there are."""
        self._idle: dict[Any, int] = {}
        """Those that wait for a request, the one that has waited longest first, each with the turn
        of the event loop in which it began to."""

    def patch(self) -> None:
        """Patch what gunicorn's master must not have, and make its sockets gevent's.

        The rest was done at the very start, as it must be. gunicorn would patch that again, and to
        patch threads gevent looks at every object there is, which fails where a weak reference has
        just died: then the worker does not boot, and the master gives up.

        A Condition asks its lock whether it is held before it wakes anybody. If the lock cannot
        tell, it is tried, and where that fails gevent lets others run: with every connection that
        goes back to PyMongo's pool, and the pool locked. gevent's lock does know."""
        monkey.patch_os()
        monkey.patch_signal()
        monkey.patch_subprocess()
        LockType._is_owned = LockType.locked  # noqa: SLF001  # what a Condition looks for
        self.sockets = [
            socket.socket(sock.FAMILY, socket.SOCK_STREAM, fileno=sock.sock.detach())
            for sock in self.sockets
        ]
        self._listeners = {sock: _Listener(sock.getsockname()) for sock in self.sockets}

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, from its first request to its end."""
        self._count += 1
        self._idle[client] = gevent.get_hub().loop.iteration
        if self._count >= self.worker_connections:
            self._make_room()
        try:
            super().handle(self._listeners[listener], client, addr)
        finally:
            self._idle.pop(client, None)
            self._count -= 1

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request, whose head has arrived; StopIteration ends the connection."""
        loop = gevent.get_hub().loop
        if self._idle.pop(sock, None) == loop.iteration:
            gevent.sleep(ONE_TURN)
        sock.settimeout(WRITE_SECONDS)
        with loop.timer(READ_SECONDS) as arrival:
            arrival.start(_read_no_more, sock)
            try:
                super().handle_request(listener_name, req, sock, addr)
            except TimeoutError as error:
                self.log.info("Hung up on a client that did not fetch its answer")
                raise StopIteration from error
            except StopIteration:
                self._linger(sock)
                raise
        self._idle[sock] = loop.iteration

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no request."""
        super().handle_error(req, client, addr, exc)
        self._linger(client)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Accept no more, and do not wait for those that are not asking anything."""
        super().handle_exit(sig, frame)

        for connection in self._idle:
            _read_no_more(connection)

    def _make_room(self) -> None:
        """End the connection that has waited longest for a request, if one does."""
        if longest := next(iter(self._idle), None):
            del self._idle[longest]
            _read_no_more(longest)

    def _linger(self, sock: Any) -> None:
        """Read on for a while, so that the client gets the answer before the connection ends."""
        if self.cfg.is_ssl:
            return
        drained = 0
        with contextlib.suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):
            sock.shutdown(socket.SHUT_WR)
            while drained <= MAX_DRAINED_BYTES and (data := sock.recv(4096)):
                drained += len(data)


def _read_no_more(sock: Any) -> None:
    """Let whoever reads see the end; what has arrived is not affected. (Of its own sockets, gevent
    would tell the reader that somebody has closed them, which is an error, and logged.)"""
    system_socket = monkey.get_original("socket", "socket")
    with contextlib.suppress(OSError), system_socket(fileno=os.dup(sock.fileno())) as same:
        same.shutdown(socket.SHUT_RD)
