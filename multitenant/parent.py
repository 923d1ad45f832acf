"""Hearing of the death of the parent process, where the system offers that (Linux)."""

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1
"""From <linux/prctl.h>."""


def send_on_death_of_parent(number: int) -> None:
    """Have this process sent the signal when its parent ends (strictly, the thread of it that has
    forked this process)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)


def ends_with_this_process() -> Callable[[], None] | None:
    """Return what a process that the main thread forks must call to get SIGTERM when this process
    is killed; None where the system does not offer that, and for other threads, which may end."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        return None
    parent = os.getpid()
    prctl = ctypes.CDLL(None).prctl  # looked up here, since little may be done after a fork

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))
        if os.getppid() != parent:
            os._exit(1)

    return prepare
