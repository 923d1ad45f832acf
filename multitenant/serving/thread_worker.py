"""gunicorn's threaded worker, without its waits for clients that do not go on.

After an answer that ends a connection, gunicorn 27 half-closes the socket and waits up to two
seconds for the client to do the same, so that unread input cannot cut off the answer. It waits in
the worker's main loop, which accepts nothing meanwhile. Here the same waiting is done by the
loop's own poller, and costs no thread.

Nor has gunicorn a limit to how long a request may take to arrive once its first byte is there: a
few clients that stop in the middle of a body would hold every thread. Here such a request ends
after READ_SECONDS, and an answer that is not fetched is given up after WRITE_SECONDS. (A buffering
proxy in front keeps slow clients off the threads altogether.)

A connection that says nothing has no thread here, and when there are as many connections as a
worker may have, the one that has waited longest for a request makes room for the next: clients
that connect and send nothing do not keep out those that do.
"""

import contextlib
import errno
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future
from functools import partial
from typing import Any

from gunicorn.workers.base import Worker
from gunicorn.workers.gthread import TConn
from gunicorn.workers.gthread import ThreadWorker as GunicornThreadWorker

from multitenant.serving.limits import (
    LINGER_SECONDS,
    MAX_DRAINED_BYTES,
    READ_SECONDS,
    STOP_SECONDS,
    WRITE_SECONDS,
)
from multitenant.serving.newcomers import HANDSHAKE_SECONDS, turn_away
from multitenant.serving.readiness import closes_listeners

NOBODY_THERE = (errno.EAGAIN, errno.EWOULDBLOCK, errno.ECONNABORTED)
NO_DESCRIPTOR_LEFT = (errno.EMFILE, errno.ENFILE)


class ThreadWorker(GunicornThreadWorker):  # type: ignore[misc]  # gunicorn has no type hints
    """The worker class for `WORKER_CLASS=gthread`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: dict[TConn, int] = {}
        """Connections that are answered and half closed, and how many bytes came since."""
        self._reading: dict[TConn, float] = {}
        """Connections in a thread's hands, and until when their request must have arrived."""

    def accept(self, listener: Any) -> None:
        """Accept a connection; it gets a thread when its first byte is there. Runs in the main
        loop."""
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in NO_DESCRIPTOR_LEFT:
                self._make_room()
            elif error.errno not in NOBODY_THERE:
                raise
            return
        conn = TConn(self.cfg, sock, address, listener.getsockname())
        conn.set_timeout()
        self.nr_conns += 1
        self.pending_conns.append(conn)
        self.poller.register(
            conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn)
        )
        if self.nr_conns >= self.worker_connections:
            self._make_room()

    def set_accept_enabled(self, enabled: bool) -> None:
        """Listen or pause; a worker that stops first accepts what waits, which nobody may do if it
        is the last one, and listens no more."""
        super().set_accept_enabled(enabled)
        if self.alive or enabled:  # one may be told to stop before it has begun to listen
            return
        if closes_listeners():
            for listener in self.sockets:
                turn_away(listener)
            time.sleep(HANDSHAKE_SECONDS)
        for listener in self.sockets:
            while self.nr_conns < self.worker_connections:
                before = self.nr_conns
                self.accept(listener)
                if self.nr_conns == before:
                    break
            listener.close()

    def is_parent_alive(self) -> bool:
        """Whether the master is there; without it the worker stops."""
        if not super().is_parent_alive():
            self.alive = False
        return bool(self.alive)

    def handle(self, conn: TConn) -> Any:
        """Read and answer one request; runs in a thread."""
        self._reading[conn] = time.monotonic() + READ_SECONDS
        try:
            return super().handle(conn)
        finally:
            self._reading.pop(conn, None)

    def handle_request(self, req: Any, conn: TConn) -> Any:
        """Answer one request, whose head has arrived; return whether the connection goes on."""
        conn.sock.settimeout(WRITE_SECONDS)
        try:
            return super().handle_request(req, conn)
        except TimeoutError:
            self.log.info("Hung up on a client that did not fetch its answer")
            return False

    def handle_quit(self, sig: int, frame: Any) -> None:
        """Leave at once. gunicorn's own handler takes the thread pool's lock first, and waits for
        ever when it has interrupted the main loop just while that held it."""
        Worker.handle_quit(self, sig, frame)

    def finish_request(self, conn: TConn, fs: "Future[Any]") -> None:
        """Let go of a connection whose request is done; runs in the main loop."""
        ended = fs.cancelled() or fs.exception() is not None or not fs.result()
        if not ended or self.cfg.is_ssl:
            super().finish_request(conn, fs)
            return
        self._half_close(conn)

    def murder_keepalived(self, force: bool = False) -> None:
        """End connections that were idle for too long; with `force` all of them, at once."""
        if force or self.cfg.is_ssl:
            super().murder_keepalived(force)
        else:
            self._end_expired(self.keepalived_conns)

    def murder_pending(self) -> None:
        """Called by the main loop at least once a second: end what lingers too long, too, and
        read no more from who is too slow. A request that has arrived is not affected."""
        if self.cfg.is_ssl:
            super().murder_pending()
        else:
            self._end_expired(self.pending_conns)
        now = time.monotonic()
        for conn, deadline in list(self._reading.items()):
            if deadline <= now and self._reading.pop(conn, 0.0):
                with contextlib.suppress(OSError):
                    conn.sock.shutdown(socket.SHUT_RD)
        for conn in [conn for conn in self._lingering if conn.timeout <= now]:
            self._end_linger(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Called when the worker stops: end idle connections soon."""
        deadline = time.monotonic() + STOP_SECONDS
        for conn in [*self.keepalived_conns, *self.pending_conns]:
            conn.timeout = min(conn.timeout, deadline)

    def _end_expired(self, conns: "deque[TConn]") -> None:
        """End those whose time is over by FIN alone: a reset could take with it what the client has
        not read yet. One whose request has just come is served."""
        while conns and conns[0].timeout <= time.monotonic():
            conn = conns.popleft()
            self.poller.unregister(conn.sock)
            if _has_come(conn.sock):
                conn.data_ready = True
                self.enqueue_req(conn)
            else:
                self._half_close(conn)

    def _half_close(self, conn: TConn) -> None:
        """Send FIN, and read on for a while."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
        except OSError:
            self._hang_up(conn)
            return
        conn.timeout = time.monotonic() + LINGER_SECONDS
        self._lingering[conn] = 0
        self.poller.register(
            conn.sock, selectors.EVENT_READ, partial(self._on_lingering_readable, conn)
        )

    def _make_room(self) -> None:
        """Hang up on the connection that has waited longest for a request, if one does."""
        waiting: list[deque[TConn]] = [self.pending_conns, self.keepalived_conns]
        if not any(waiting):
            return
        conn = min(
            (conns for conns in waiting if conns), key=lambda conns: conns[0].timeout
        ).popleft()
        self.poller.unregister(conn.sock)
        self._hang_up(conn)

    def _on_lingering_readable(self, conn: TConn, _: Any) -> None:
        try:
            data = conn.sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._lingering[conn] += len(data)
        if not data or self._lingering[conn] > MAX_DRAINED_BYTES:
            self._end_linger(conn)

    def _end_linger(self, conn: TConn) -> None:
        del self._lingering[conn]
        with contextlib.suppress(KeyError, ValueError):
            self.poller.unregister(conn.sock)
        self._hang_up(conn)

    def _hang_up(self, conn: TConn) -> None:
        self.nr_conns -= 1
        conn.close()


def _has_come(sock: socket.socket) -> bool:
    """Whether there is something to read."""
    with contextlib.suppress(OSError):
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    return False
