"""A client's connection under gevent, with a limit to each of its waits.

It is idle until the next request begins to arrive, which then has READ_SECONDS. An idle connection
is ended by FIN alone: what the client sends at the same moment is read and dropped, since a reset
could take an answer with it that the client has not read yet, and a client may send a request again
that met an orderly end.
"""

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket
from gevent import monkey

from multitenant.serving.limits import LINGER_SECONDS, READ_SECONDS


class Connection(gevent.socket.socket):  # type: ignore[misc]  # gevent has no type hints
    """A connection that was accepted; `close()` stops its timer."""

    _timer: Any = None
    _idle = False
    _ended = False

    def await_request(self, seconds: float) -> None:
        """Give the client that long to begin a request; idle until then."""
        self._idle = True
        self._limit(seconds, self.end)

    def recv(self, *args: Any) -> bytes:
        """See socket: bytes, or none at the end."""
        data: bytes = super().recv(*args)
        while data and self._ended:
            data = super().recv(*args)
        if data:
            self.begin_request()
        return data

    def begin_request(self) -> None:
        """Give the rest of the request READ_SECONDS; its first bytes are there."""
        if self._idle:
            self._idle = False
            self._limit(READ_SECONDS, self.read_no_more)

    def limit_idle(self, seconds: float) -> None:
        """Shorten the wait of an idle connection."""
        if self._idle and not self._ended:
            self._limit(seconds, self.end)

    def end(self) -> None:
        """Take no more requests, unless one has just come, and give the client time to see it."""
        if self._has_come():
            return
        self._ended = True
        with contextlib.suppress(OSError):
            self.shutdown(socket.SHUT_WR)
        self._limit(LINGER_SECONDS, self.read_no_more)

    def read_no_more(self) -> None:
        """Let whoever reads see the end; what has arrived is not affected. (Of its own sockets,
        gevent would tell the reader that somebody has closed them: an error, and logged.)"""
        with contextlib.suppress(OSError), self._system_socket() as same:
            same.shutdown(socket.SHUT_RD)

    def stop_timer(self) -> None:
        """Limit nothing any more."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None

    def close(self) -> None:
        """See socket."""
        self.stop_timer()
        super().close()

    def _has_come(self) -> bool:
        """Whether there is something to read, for a greenlet that had no turn yet."""
        with contextlib.suppress(OSError), self._system_socket() as same:
            return bool(same.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        return False

    def _system_socket(self) -> socket.socket:
        of_the_system: Callable[..., socket.socket] = monkey.get_original("socket", "socket")
        return of_the_system(fileno=os.dup(self.fileno()))

    def _limit(self, seconds: float, then: Callable[[], None]) -> None:
        self.stop_timer()
        self._timer = gevent.get_hub().loop.timer(seconds)
        self._timer.start(then)
