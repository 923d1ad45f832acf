"""Work that a process does when there is time: in a thread, and never twice at once."""

import threading
from collections.abc import Callable

from multitenant.tenancy.failures import contained

STOP_SECONDS = 10


class Background:
    """Does `work` in a thread of that name, which the first wake() starts."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        self._name = name
        self._work = work
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def stopping(self) -> bool:
        """Whether the work should come to its end."""
        return self._stopping.is_set()

    def wake(self) -> None:
        """See to it that the work is done once more; returns at once."""
        with self._lock:
            if self._stopping.is_set():
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._wanted.set()

    def stop(self) -> None:
        """End the thread, for good."""
        with self._lock:
            self._stopping.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._stopping.is_set():
                return
            self._wanted.clear()
            with contained(f"Background work ({self._name})"):  # the next time may go well
                self._work()
