"""The application in processes of its own, spoken to over HTTP."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from tests import plain_http
from tests.secrets_watch import WATCH
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD, PASSWORD

ROOT = Path(__file__).parents[2]
START_SECONDS = 120  # a machine may be busy with other things

MULTITENANT = (sys.executable, "-m", "multitenant")
MULTITENANT_RUN = (*MULTITENANT, "run")
FLASK_RUN = (sys.executable, "-m", "flask", "--app", f"{ROOT}/wsgi.py", "run")
GUNICORN = (sys.executable, "-m", "gunicorn", "-c", f"{ROOT}/gunicorn.conf.py")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process; its output goes to a file."""

    def __init__(
        self, command: tuple[str, ...], environment: Mapping[str, str], directory: Path
    ) -> None:
        directory.mkdir(exist_ok=True)
        self._command = command
        self.port = int(environment.get("PORT", free_port()))
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = directory / "server.log"
        self._start_of_log = self._log.stat().st_size if self._log.exists() else 0
        inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env={
                    **inherited,
                    "PYTHONPATH": str(ROOT),
                    **environment,
                    "LOG_FORMAT": environment.get("LOG_FORMAT", "json"),
                    "LOG_LEVEL": "INFO",
                    "PORT": str(self.port),
                    "FLASK_RUN_PORT": str(self.port),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What this process has written."""
        with self._log.open(errors="replace") as file:
            file.seek(self._start_of_log)
            return file.read()

    def wait_until_ready(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        with plain_http.open_client(timeout=5) as client:
            while True:
                assert self.process.poll() is None, self.log
                assert time.monotonic() < deadline, self.log
                try:
                    if client.get(f"{self.url}/readyz").status_code == 200:
                        return self
                except httpx.TransportError:
                    pass
                time.sleep(0.05)

    @property
    def workers(self) -> list[int]:
        """The process ids of gunicorn's workers, those that have ended as well."""
        return [int(pid) for pid in re.findall(r"Booting worker with pid: (\d+)", self.log)]

    def wait_until_connected(self, workers: int, port: int) -> None:
        """Send requests until that many workers have a connection to MongoDB on this port."""
        deadline = time.monotonic() + START_SECONDS
        while len(self.workers) < workers or not all(
            _is_connected(pid, port) for pid in self.workers
        ):
            assert time.monotonic() < deadline, self.log
            plain_http.get(f"{self.url}/readyz", timeout=30)

    def stop(self, wanted: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal, wait, and return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(wanted)
        return self.process.wait(timeout=40)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            self.process.kill()
            self.process.wait()
            WATCH.saw_output(" ".join(self._command), self.log)

    def login(self, email: str = OPERATOR_EMAIL, password: str = OPERATOR_PASSWORD) -> httpx.Client:
        """A client that sends the user's token."""
        body = {"email": email, "password": password}
        response = plain_http.post(f"{self.url}/api/login", json=body, timeout=30)
        assert response.status_code == 200, response.text
        token = response.json()["responseObject"]["accessToken"]
        return plain_http.open_client(
            base_url=self.url, headers={"Authorization": f"Bearer {token}"}, timeout=30
        )

    def add_tenant(self, name: str) -> str:
        """Add a tenant with the usual password and return its owner's email."""
        email = f"owner@{name.lower()}.example"
        body: dict[str, Any] = {"name": name, "email": email, "password": PASSWORD}
        with self.login() as operator:
            response = operator.post("/api/add", json=body)
        assert response.status_code == 201, response.text
        return email


def _is_connected(pid: int, port: int) -> bool:
    """Whether the process has a TCP connection to that port of this machine."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        descriptors = Path(f"/proc/{pid}/fd").iterdir()
        sockets = {str(it.readlink()) for it in descriptors if it.is_symlink()}
        for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if int(fields[2].split(":")[1], 16) == port and f"socket:[{fields[9]}]" in sockets:
                return True
    return False
