"""A load generator: keep-alive connections that each send their next request when the last is
answered. It adds nothing but bytes to a socket, so that one core carries several thousand requests
a second."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

NextRequest = Callable[[], bytes]


@dataclass
class Run:
    """What was answered in one run."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    """Seconds from sending a request to the end of its answer."""
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.latencies) / self.seconds

    def percentile(self, percent: float) -> float:
        """The latency, in milliseconds, that so many percent of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1000


class _Connection(asyncio.Protocol):
    """One client. Where the server says that it ends the connection, which a worker does that makes
    room for a fresh one, the client connects again."""

    def __init__(
        self, port: int, next_request: NextRequest, run: Run, ended: "asyncio.Future[None]"
    ) -> None:
        self._port = port
        self._next_request = next_request
        self._run = run
        self._ended = ended
        self._buffer = b""
        self._missing: int | None = None
        self._told_to_leave = False
        self.stopping = False

    async def connect(self) -> None:
        """Connect, and begin."""
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        except OSError as error:
            self._ended.set_exception(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._next_request())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._missing is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            at = head.index(b"content-length:") + 15
            self._missing = end + 4 + int(head[at:].split(b"\r\n", 1)[0])
            self._told_to_leave = b"\r\nconnection: close" in head
        if len(self._buffer) < self._missing:
            return
        self._run.latencies.append(time.perf_counter() - self._sent)
        self._run.statuses[int(self._buffer[9:12])] += 1
        self._buffer, self._missing = b"", None
        if self.stopping or self._told_to_leave:
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._ended.done():
            if self.stopping:
                self._ended.set_result(None)
            elif self._told_to_leave:
                self._told_to_leave = False
                self._reconnecting = asyncio.ensure_future(self.connect())
            else:
                self._ended.set_exception(error or ConnectionError("the server hung up"))


async def run_load(
    port: int, next_request: NextRequest, *, connections: int, seconds: float
) -> Run:
    """Send requests for so long, and return what was answered; raises ConnectionError."""
    loop = asyncio.get_running_loop()
    run = Run(seconds)
    ends = [loop.create_future() for _ in range(connections)]
    clients = [_Connection(port, next_request, run, end) for end in ends]
    started = time.perf_counter()
    for client in clients:
        await client.connect()
    await asyncio.sleep(seconds)
    for client in clients:
        client.stopping = True
    run.seconds = time.perf_counter() - started
    done = Run(run.seconds, list(run.latencies), Counter(run.statuses))
    await asyncio.wait_for(asyncio.gather(*ends), 60)
    return done
