"""The applications that are compared: this one, and its peers, each a process of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Self

import psutil

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
EXPRESS = PEERS / "express-mongoose"
START_SECONDS = 60


@dataclass(frozen=True)
class Side:
    """One application."""

    name: str
    label: str
    command: tuple[str, ...]
    directory: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)
    one_tenant: bool = False
    """Whether it has no tenants, and always answers from the first one's database."""
    writes_accounts: bool = True
    """Whether it has logins, and can add tenants."""


def sides(worker_class: str, threads: int) -> dict[str, Side]:
    """All of them, one process each; both Flask applications on the same kind of worker."""
    gunicorn = (sys.executable, "-m", "gunicorn")
    worker = {"WORKER_CLASS": worker_class, "WORKERS": "1", "THREADS": str(threads)}
    every = [
        Side(
            "ours",
            "this application",
            (*gunicorn, "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app"),
            environment=worker,
        ),
        Side(
            "floor",
            "bare Flask, one tenant",
            (*gunicorn, "--threads", str(threads), "floor:app"),
            PEERS / "flask-floor",
            environment=worker,
            one_tenant=True,
            writes_accounts=False,
        ),
        Side(
            "fastapi",
            "FastAPI, asynchronous PyMongo",
            (
                sys.executable,
                "-m",
                "uvicorn",
                "main:app",
                "--no-access-log",
                "--log-level",
                "error",
            ),
            PEERS / "fastapi",
        ),
        *(
            Side(
                variant,
                label,
                ("node", "server.mjs"),
                EXPRESS,
                {"VARIANT": variant, "NODE_ENV": "production"},
            )
            for variant, label in {
                "use-db": "Express, Mongoose with useDb",
                "connection-per-tenant": "Express, Mongoose, a connection per tenant",
            }.items()
        ),
    ]
    return {side.name: side for side in every}


@dataclass(frozen=True)
class Resources:
    """What a side holds while it works."""

    memory_mib: float
    threads: int
    server_connections: int
    """To MongoDB."""


class RunningSide:
    """A started side; ends with the `with` block."""

    def __init__(self, side: Side, port: int, environment: dict[str, str], log: Path) -> None:
        self.side = side
        self.port = port
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise RuntimeError(f"Something else listens on port {port}")
        started = time.perf_counter()
        command = [*side.command]
        if "uvicorn" in command:
            command += ["--port", str(port)]
        if side.name == "floor":
            command += ["--bind", f"127.0.0.1:{port}"]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=side.directory,
                env={**os.environ, **environment, **side.environment, "PORT": str(port)},
                stdout=output,
                stderr=output,
            )
        self._wait(log)
        self.start_seconds = time.perf_counter() - started

    def _wait(self, log: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=5):
                    return
            except OSError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._process.kill()
                    raise RuntimeError(f"{self.side.label} does not start; see {log}") from None
                time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            for process in self._tree():
                process.kill()
            self._process.wait()

    def cpu_seconds(self) -> float:
        """User and system time so far, of all its processes."""
        return sum(sum(process.cpu_times()[:2]) for process in self._tree())

    def resources(self, server_port: int) -> Resources:
        """Of the process that answers, which asks MongoDB on that port."""

        def connections(process: psutil.Process) -> int:
            peers = [connection.raddr for connection in process.net_connections("tcp")]
            return sum(peer.port == server_port for peer in peers if peer)

        held, worker = max(((connections(it), it) for it in self._tree()), key=itemgetter(0))
        return Resources(worker.memory_info().rss / 2**20, worker.num_threads(), held)

    def workers(self) -> list[psutil.Process]:
        """Gunicorn's worker processes."""
        return list(psutil.Process(self._process.pid).children())

    def _tree(self) -> list[psutil.Process]:
        root = psutil.Process(self._process.pid)
        return [root, *root.children(recursive=True)]
