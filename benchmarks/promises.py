"""How long it takes until what the platform promises in seconds is so.

    python -m benchmarks.promises --rounds 10

Starts two MongoDBs and this application with three workers, and asks all of them, again and again,
with a token that is just being withdrawn: how long after the answer was the last request sent that
was served all the same? Moves a tenant that writes from one MongoDB to the other and back: for how
long could it only be read? Ends the application while it works: how long does that take?
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.sides import RunningSide, sides
from benchmarks.workloads import OPERATOR, PASSWORD, seed
from multitenant.config import load_settings
from multitenant.embedded import EmbeddedServer

PORT = 5098
WORKERS = 3
CLIENTS = 6
"""Who ask at the same time; each request has a connection of its own, so that all workers are
reached."""
WATCHED_SECONDS = 2.0


def send(method: str, path: str, token: str | None = None, body: Any = None) -> tuple[int, Any]:
    """Send a request; return the status and the object that was answered."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{PORT}{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}
        | ({"Authorization": f"Bearer {token}"} if token else {}),
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)["responseObject"]
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def log_in(email: str) -> str:
    """Return a new access token."""
    _, session = send("POST", "/api/login", body={"email": email, "password": PASSWORD})
    return str(session["accessToken"])


def served_after(token: str, withdraw: Callable[[], None]) -> float:
    """Withdraw the token while it is used by all workers; return how many seconds after that was
    answered the last request was sent that was served."""
    served: list[float] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            sent = time.monotonic()
            if send("GET", "/api/users/me", token)[0] == 200:
                served.append(sent)

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    withdraw()
    answered = time.monotonic()
    time.sleep(WATCHED_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    return max(0.0, max(served) - answered)


@dataclass(frozen=True)
class Platform:
    """What is measured."""

    environment: dict[str, str]
    operator: str
    tenant_id: str
    owner_email: str

    def suspension(self) -> float:
        """Seconds until a suspended tenant is refused everywhere."""
        path = f"/api/tenants/{self.tenant_id}"
        taken = served_after(
            log_in(self.owner_email), lambda: self._do("POST", f"{path}/suspend", self.operator)
        )
        self._do("POST", f"{path}/activate", self.operator)
        time.sleep(1)
        return taken

    def logout(self) -> float:
        """Seconds until a session that has ended is refused everywhere."""
        token = log_in(self.owner_email)
        return served_after(token, lambda: self._do("POST", "/api/logout", token))

    def password(self) -> float:
        """Seconds until the other sessions of a user with a new password are."""
        token, other = log_in(self.owner_email), log_in(self.owner_email)
        body = {"currentPassword": PASSWORD, "newPassword": PASSWORD}
        return served_after(token, lambda: self._do("PUT", "/api/users/me/password", other, body))

    def move(self) -> float:
        """Seconds in which a tenant that writes could only be read while it moved there and back,
        whichever was longer."""
        token, stop = log_in(self.owner_email), threading.Event()

        def write() -> None:
            while not stop.is_set():
                send("POST", "/api/to-do-list", token, {"title": "Buy milk"})

        writers = [threading.Thread(target=write) for _ in range(2)]
        for writer in writers:
            writer.start()
        try:
            return max(self._move(cluster) for cluster in ("blue", "default"))
        finally:
            stop.set()
            for writer in writers:
                writer.join()

    def _move(self, cluster: str) -> float:
        moved = self.run("move", self.tenant_id, "--to", cluster, "--yes", "--json")
        return float(json.loads(moved)["pauseMs"]) / 1000

    def run(self, *arguments: str, **environment: str) -> str:
        """Run `multitenant` and return what it prints."""
        return subprocess.run(
            [sys.executable, "-m", "multitenant", *arguments],
            env={**os.environ, **self.environment, **environment},
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ).stdout

    def _do(self, method: str, path: str, token: str, body: Any = None) -> None:
        status, _ = send(method, path, token, body)
        if status != 200:
            raise RuntimeError(f"{method} {path} was answered {status}")


def end(start: Callable[[], RunningSide], token: str) -> float:
    """Return how many seconds all workers take to end, with a request under way in each."""
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            try:
                send("GET", "/api/to-do-list", token)
            except OSError:
                return

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    with start():
        for thread in threads:
            thread.start()
        time.sleep(1)
        started = time.monotonic()
    taken = time.monotonic() - started
    stop.set()
    for thread in threads:
        thread.join()
    return taken


def row(promise: str, limit: str, seconds: list[float]) -> None:
    """Print the figures of one promise."""
    median, most = statistics.median(seconds) * 1000, max(seconds) * 1000
    print(f"{promise:<50}{limit:>10}{median:>12.0f} ms{most:>12.0f} ms", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--worker-class", choices=["gevent", "gthread"], default="gevent")
    options = parser.parse_args()
    memory = Path("/dev/shm")  # so that no disk decides
    side = sides(options.worker_class, threads=16)["ours"]
    side = replace(side, environment=side.environment | {"WORKERS": str(WORKERS)})
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        EmbeddedServer(Path(folder) / "mongodb") as mongod,
        EmbeddedServer(Path(folder) / "blue") as blue,
    ):
        environment = {
            "MULTITENANT_ENV": "development",
            "ADMIN_DB_URI": mongod.uri,
            "INSTANCE_PATH": folder,
            "BCRYPT_ROUNDS": "6",
            "LOGIN_RATE_LIMIT": "1000000 per minute",
            "LOG_LEVEL": "WARNING",
            "OPERATOR_PASSWORD": PASSWORD,
        }
        _, tenants = seed(load_settings(environment, env_file=None), 1)
        start = partial(RunningSide, side, PORT, environment, Path(folder) / "server.log")
        print(f"{'':<50}{'limit':>10}{'median':>15}{'most':>15}")
        with start():
            tenant_id = tenants[0].db_name[-24:]
            platform = Platform(environment, log_in(OPERATOR), tenant_id, tenants[0].email)
            platform.run("clusters", "add", "blue", CLUSTER_URI=blue.uri)
            for promise, limit, measure in (
                ("a suspended tenant is refused by all workers", "1 s", platform.suspension),
                ("a session that ended is", "1 s", platform.logout),
                ("sessions before a new password are", "1 s", platform.password),
                ("a tenant that moves can only be read for", "", platform.move),
            ):
                row(promise, limit, [measure() for _ in range(options.rounds)])
        row(
            "all workers end, with requests under way",
            "",
            [end(start, tenants[0].token) for _ in range(min(options.rounds, 3))],
        )


if __name__ == "__main__":
    main()
