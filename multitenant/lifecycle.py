"""Ending cleanly: stop accepting, let requests in flight end, close every client."""

import atexit
import logging
import os
import signal
import threading
from collections.abc import Iterable
from types import FrameType
from typing import Any

from flask import Flask
from werkzeug.wsgi import ClosingIterator

from multitenant.extensions import platform_of

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR2)


class InFlight:
    """WSGI middleware that counts the requests whose answer is not sent yet."""

    def __init__(self, wsgi_app: Any) -> None:
        self._wsgi_app = wsgi_app
        self._count = 0
        self._changed = threading.Condition()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve one request."""
        with self._changed:
            self._count += 1
        try:
            body = self._wsgi_app(environ, start_response)
        except BaseException:
            self._leave()
            raise
        return ClosingIterator(body, self._leave)

    def wait(self, timeout: float) -> bool:
        """Wait until no request is in flight; return False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._count == 0, timeout)

    def _leave(self) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()


def shut_down(app: Flask, timeout: float) -> None:
    """Close every client of the application once its leases are given back, or after `timeout`
    seconds. May be called again."""
    if not platform_of(app).close(timeout):
        logger.warning("Requests were cut off: they took longer than GRACEFUL_TIMEOUT")
    logger.info("Every client is closed")


def shut_down_on_signals(app: Flask) -> None:
    """End the process cleanly, with exit code 0, on any of SIGNALS.

    Only where nobody handles them yet: gunicorn does, and its meanings win. The handler just
    leaves the server's accept loop; the rest happens at exit, where threads may be waited for.
    Until then it may be needed again: what it raises is lost where a `__del__` runs.
    """
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    in_flight = InFlight(app.wsgi_app)
    app.wsgi_app = in_flight  # type: ignore[method-assign]  # Flask's documented way
    ending = threading.Event()
    process = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if not ending.is_set():
            logger.info("%s: ending", signal.Signals(number).name)
            raise SystemExit(0)

    def end() -> None:
        ending.set()
        if os.getpid() == process:  # a fork inherits this, and has its own way to end
            in_flight.wait(platform_of(app).settings.graceful_timeout)
            shut_down(app, timeout=0)

    for number in SIGNALS:
        signal.signal(number, handle)
    atexit.register(end)
