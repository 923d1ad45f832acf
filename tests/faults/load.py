"""People who go on working whatever happens, over HTTP, and remember what they were answered."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from types import TracebackType
from typing import Any, Self

import httpx

PAUSE_SECONDS = 0.15
PULSE_SECONDS = 0.1
LONGEST_SECONDS = 60.0
"""What nobody was answered after that time is taken for lost."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request: what it was to do, when it was under way (by time.time()), and its status."""

    kind: str
    tenant: str
    mark: str
    began: float
    ended: float
    status: int

    def overlaps(self, start: float, end: float) -> bool:
        """Whether it was under way in between."""
        return self.began < end and self.ended > start


@dataclass
class Worker:
    """One of those people; `work` sends a request with a mark that nothing else has, and returns
    the answer, after saying what is wrong with it by raising AssertionError."""

    kind: str
    tenant: str
    work: Callable[[str], httpx.Response]


@dataclass
class Load:
    """All of them, each in a thread, from the beginning of the block to its end."""

    workers: list[Worker]
    sent: list[Sent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Answers that must not be."""
    stalls: list[tuple[float, float]] = field(default_factory=list)
    """When this machine has let nobody work: nothing can be said of such times."""

    def __post_init__(self) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._go_on, args=(number, worker), name=worker.kind)
            for number, worker in enumerate(self.workers)
        ]
        self._threads.append(threading.Thread(target=self._feel_pulse, name="pulse"))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def marks(self, kind: str, tenant: str, *, acknowledged: bool) -> list[str]:
        """What of this kind was acknowledged, or was not."""
        return [
            one.mark
            for one in list(self.sent)
            if (one.kind, one.tenant) == (kind, tenant) and (one.status < 300) is acknowledged
        ]

    def go_on(self, requests: int = 3) -> None:
        """Return when everybody was served so many times more from here on."""
        begin = len(self.sent)
        deadline = time.monotonic() + LONGEST_SECONDS
        while time.monotonic() < deadline:
            served = [(one.kind, one.tenant) for one in self.sent[begin:] if one.status < 300]
            if all(served.count((who.kind, who.tenant)) >= requests for who in self.workers):
                return
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("not everybody is served again")

    def _go_on(self, number: int, worker: Worker) -> None:
        for turn in count():
            if self._stopping.wait(PAUSE_SECONDS):
                return
            mark = f"{worker.kind} {worker.tenant} {number} {turn}"
            began = time.time()
            try:
                response = worker.work(mark)
                if response.status_code >= 300:
                    ensure_unavailable(response)
            except (httpx.HTTPError, AssertionError) as error:
                self.wrong.append(f"{mark}: {type(error).__name__} {error}")
                continue
            ended = time.time()
            self.sent.append(
                Sent(worker.kind, worker.tenant, mark, began, ended, response.status_code)
            )

    def _feel_pulse(self) -> None:
        before = time.time()
        while not self._stopping.wait(PULSE_SECONDS):
            now = time.time()
            if now - before > 5 * PULSE_SECONDS:
                self.stalls.append((before, now))
            before = now


def ensure_unavailable(response: httpx.Response) -> None:
    """Fail unless the answer is the one that there is no database to be had."""
    body: dict[str, Any] = response.json()
    assert response.status_code == 503, response.text
    assert set(body) == {"success", "statusCode", "message", "responseObject"}, response.text
    assert (body["success"], body["statusCode"]) == (False, 503), response.text
    assert body["responseObject"]["code"] == "database_unavailable", response.text
    assert int(response.headers["Retry-After"]) > 0
