"""What gunicorn's master does on signals, where gunicorn would lose requests or stay behind.

- SIGTERM: `/readyz` answers 503 for DRAIN_SECONDS, while everything else is served as ever, so that
  load balancers turn away first. Then the workers stop in order. A second SIGTERM ends the delay.
- SIGHUP: gunicorn's reload; but where the terminal was closed the server stops, unless it was
  started with nohup.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from multitenant.parent import send_on_death_of_parent
from multitenant.serving.readiness import announce_stop


class Terminal:
    """The terminal that a process was started in, if there is one."""

    def __init__(self, parent: int | None) -> None:
        """`parent` is the process with which the terminal goes as well."""
        self._parent = parent
        self._was_there = _has_terminal()
        if self._was_there and parent is not None:
            send_on_death_of_parent(signal.SIGHUP)

    def is_closed(self) -> bool:
        """Whether it was there and is gone."""
        orphaned = self._parent is not None and os.getppid() != self._parent
        return self._was_there and (orphaned or not _has_terminal())


def handle_signals(arbiter: Any, *, drain_seconds: float) -> None:
    """Give gunicorn's master these handlers; to be called before it installs its own."""
    stays = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    replaces_another = bool(arbiter.master_pid)  # which is its parent, and ends after SIGUSR2
    terminal = Terminal(None if stays or replaces_another else os.getppid())
    arbiter.handle_term = lambda: _drain(arbiter, drain_seconds)
    reload = arbiter.handle_hup
    arbiter.handle_hup = lambda: _hang_up(arbiter, terminal, reload, stays=stays)


def _drain(arbiter: Any, seconds: float) -> None:
    """Stop, after load balancers had time to turn away. One that has a successor does not wait,
    since that one serves."""
    if not arbiter.reexec_pid:
        announce_stop(closes=not arbiter.systemd)
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for number in arbiter.wait_for_signals(timeout=min(left, 1.0)):
                if number == signal.SIGTERM:
                    raise StopIteration
                if number in (signal.SIGINT, signal.SIGQUIT):
                    arbiter.handle_quit()
                if number == signal.SIGCHLD:
                    arbiter.handle_chld()
            arbiter.murder_workers()
            arbiter.manage_workers()
    raise StopIteration


def _hang_up(arbiter: Any, terminal: Terminal, reload: Callable[[], None], *, stays: bool) -> None:
    if not terminal.is_closed():
        reload()
    elif not stays:
        arbiter.log.info("The terminal was closed: ending")
        raise StopIteration


def _has_terminal() -> bool:
    with suppress(OSError):
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
        return True
    return False
