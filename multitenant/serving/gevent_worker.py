"""gunicorn's gevent worker, bounded in what a client can hold, and patient where it hangs up.

Each connection has a greenlet, so a slow client costs little, but there are only so many places
(`worker_connections`), and gunicorn limits neither how long a body may take to arrive nor how long
an answer may take to be fetched. Here both are limited. So is the wait for the client to end its
side of the connection after the answer: without one, input that nobody read would cut it off.

A worker that stops accepts what waits to be accepted, closes its listening socket, and then serves
the connections that it has. gunicorn asks the socket for its address once more for each, which a
closed one does not have, and hangs up on them; so the address is kept. An idle connection stays for
STOP_SECONDS, and a request that comes on it is answered with `Connection: close`.

When every place is taken, the connection that has waited longest for a request makes room for the
next: clients that connect and send nothing do not keep out those that do.

A greenlet lets the others run when it has to wait, and one whose next bytes are there already never
has to. So a connection that did not wait for its next request waits for the others once.
"""

import contextlib
import os
import socket
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import gevent
from gevent import monkey
from gevent.event import Event
from gevent.pool import Pool
from gevent.server import StreamServer
from gevent.thread import LockType
from gunicorn.sock import ssl_context
from gunicorn.workers.ggevent import GeventWorker as GunicornGeventWorker

from multitenant.serving.gevent_connection import Connection
from multitenant.serving.limits import (
    LINGER_SECONDS,
    MAX_DRAINED_BYTES,
    STOP_SECONDS,
    WRITE_SECONDS,
)
from multitenant.serving.newcomers import HANDSHAKE_SECONDS, turn_away
from multitenant.serving.readiness import closes_listeners

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
        self._idle: dict[Connection, int] = {}
        """Those that wait for a request, the one that has waited longest first, each with the turn
        of the event loop in which it began to."""
        self._stopping = Event()

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

    def run(self) -> None:
        """Serve until it is told to stop, and then what it has accepted, for up to
        `graceful_timeout` seconds."""
        servers = [self._serve(listener) for listener in self.sockets]
        while self.alive:
            self.notify()
            self._stopping.wait(1.0)
        for server in servers:
            self._stop_accepting(server)
        for connection in self._idle:
            connection.limit_idle(STOP_SECONDS)
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < deadline:
            if all(server.pool.join(timeout=1.0) for server in servers):
                return
            self.notify()
        self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
        for server in servers:
            server.pool.kill(timeout=1.0)

    def notify(self) -> None:
        """Tell the master that this worker lives; stop when there is no master any more."""
        self.tmp.notify()
        if self.alive and self.ppid != os.getppid():
            self.log.info("Parent changed, shutting down: %s", self)
            self._stop()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in order."""
        self._stop()

    def timeout_ctx(self) -> Any:
        """A limit to the wait for a request: a Connection has one of its own."""
        return super().timeout_ctx() if self.cfg.is_ssl else contextlib.nullcontext()

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve one connection, from its first request to its end."""
        if self.cfg.is_ssl:
            super().handle(self._listeners[listener], client, addr)
            return
        connection = Connection(client.family, client.type, fileno=client.detach())
        self._count += 1
        self._await_request(connection)
        if self._count >= self.worker_connections:
            self._make_room()
        try:
            super().handle(self._listeners[listener], connection, addr)
        finally:
            self._idle.pop(connection, None)
            self._count -= 1

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer one request, whose head has arrived; StopIteration ends the connection."""
        if self.cfg.is_ssl:
            super().handle_request(listener_name, req, sock, addr)
            return
        if self._idle.pop(sock, None) == gevent.get_hub().loop.iteration:
            gevent.sleep(ONE_TURN)
        sock.begin_request()  # sent together with the one before, it was not received anew
        sock.settimeout(WRITE_SECONDS)
        try:
            super().handle_request(listener_name, req, sock, addr)
        except TimeoutError as error:
            self.log.info("Hung up on a client that did not fetch its answer")
            raise StopIteration from error
        except StopIteration:
            self._linger(sock)
            raise
        finally:
            if not self.alive:  # after `max_requests`
                self._stop()
        sock.settimeout(None)
        self._await_request(sock)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer what is no request."""
        super().handle_error(req, client, addr, exc)
        self._linger(client)

    def _stop(self) -> None:
        self.alive = False
        self._stopping.set()

    def _serve(self, listener: Any) -> StreamServer:
        listener.setblocking(True)
        options = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        server = StreamServer(
            listener,
            handle=partial(self.handle, listener),
            spawn=Pool(self.worker_connections),
            **options,
        )
        if self.cfg.workers > 1:
            server.max_accept = 1
        server.start()
        return server

    def _stop_accepting(self, server: StreamServer) -> None:
        """Accept what waits, which nobody may do if this is the last worker, and listen no more."""
        if closes_listeners():
            turn_away(server.socket)
            gevent.sleep(HANDSHAKE_SECONDS)
        server.stop_accepting()
        with contextlib.suppress(OSError):
            while not server.full() and (accepted := server.do_read()):
                server.do_handle(*accepted)
        server.close()

    def _await_request(self, connection: Connection) -> None:
        self._idle[connection] = gevent.get_hub().loop.iteration
        seconds = self.cfg.keepalive if self.alive else min(self.cfg.keepalive, STOP_SECONDS)
        connection.await_request(seconds)

    def _make_room(self) -> None:
        """End the connection that has waited longest for a request, if one does."""
        if longest := next(iter(self._idle), None):
            del self._idle[longest]
            longest.read_no_more()

    def _linger(self, sock: Any) -> None:
        """Read on for a while, so that the client gets the answer before the connection ends."""
        if self.cfg.is_ssl:
            return
        drained = 0
        with contextlib.suppress(OSError), gevent.Timeout(LINGER_SECONDS, False):
            sock.shutdown(socket.SHUT_WR)
            while drained <= MAX_DRAINED_BYTES and (data := sock.recv(4096)):
                drained += len(data)
