"""Work that would hold up every other request of the process.

Under gevent all requests share one thread: whoever computes for long, or waits in code that gevent
does not know, stops the others. Such work goes to a native thread here, and only its own request
waits for it. Without gevent it is simply done.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")

NICENESS = 5
"""How far such work stands behind requests for a core, where there are not enough."""


def under_gevent() -> bool:
    """Whether this process was patched, so that its threads are greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class NativeThreads:
    """Native threads that nothing else waits for: gevent's own few resolve host names as well."""

    def __init__(self, size: int) -> None:
        """Starts none before the first is needed, so it may be made before a fork."""
        self._size = size
        self._pool: Any = None
        self._process = 0

    def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Return what the function returns, or raise what it raises."""
        if not under_gevent():
            return function(*arguments)
        if self._pool is None or self._process != os.getpid():
            from gevent.threadpool import ThreadPool

            self._pool, self._process = ThreadPool(self._size), os.getpid()
        result: Result = self._pool.apply(_behind_requests, (function, *arguments))
        return result


def _behind_requests(function: Callable[..., Result], *arguments: object) -> Result:
    """Call the function, in a thread of its own, which becomes and stays nice: logins that hash on
    every core would hold up all others for as long as the system lets them."""
    thread = threading.get_native_id()
    if sys.platform == "linux" and os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
        with contextlib.suppress(OSError):  # where a sandbox forbids it
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
    return function(*arguments)
