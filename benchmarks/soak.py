"""Whether memory, threads and descriptors stay as they are while everything comes and goes.

    python -m benchmarks.soak --minutes 10

Serves more tenants than the cache holds: reads, writes, refusals, logins, clients that hang up, and
tenants (shared and dedicated) that are added, used, suspended and purged all the while. Looks at
the workers every few seconds, draws what they hold, and fails when that grows.
"""

import argparse
import asyncio
import itertools
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
from pymongo import MongoClient

from benchmarks.load import NextRequest, run_load
from benchmarks.sides import ROOT, RunningSide, sides
from benchmarks.soak_report import Sample, draw, verdicts
from benchmarks.workloads import PASSWORD, Tenant, request, seed
from multitenant.config import Settings, load_settings
from multitenant.embedded import EmbeddedServer

PORT = 5099
TENANTS = 60
CACHED = 25
WORKERS = 2
CONNECTIONS = 8
TOKENS = 3 * Settings.model_fields["token_cache_size"].default
SAMPLE_SECONDS = 5.0
NOT_FOUND = "/api/to-do-list/" + "0" * 24

Work = Callable[[], Awaitable[None]]


def mixed(tenants: list[Tenant]) -> NextRequest:
    """What the steady clients ask: the n-th tenant 1/n as often as the first, one request in six
    to be refused."""
    chance = random.Random(1)  # no secret
    weights = [1 / rank for rank in range(1, len(tenants) + 1)]
    kinds: list[Callable[[Tenant], bytes]] = [
        lambda tenant: request("GET", "/api/users/me", tenant.token),
        lambda tenant: request("GET", "/api/to-do-list?limit=20", tenant.token),
        lambda tenant: request("GET", "/api/settings", tenant.token),
        lambda tenant: request("PUT", "/api/settings/colour", tenant.token, {"value": "red"}),
        lambda tenant: request("PUT", "/api/settings/size", tenant.token, {"value": [1] * 100}),
        lambda tenant: request("GET", NOT_FOUND, tenant.token),
        lambda tenant: request("GET", "/api/tenants", tenant.token),
        lambda tenant: request("POST", "/api/posts", tenant.token, {"colour": "red"}),
        lambda tenant: request("GET", "/api/users/me", "no token"),
    ]
    often = [6, 6, 6, 2, 2, 1, 1, 1, 1]

    def next_request() -> bytes:
        return chance.choices(kinds, often)[0](chance.choices(tenants, weights)[0])

    return next_request


def with_many_tokens(tenants: list[Tenant], key: str) -> list[bytes]:
    """Requests with more tokens than a worker keeps."""
    made = []
    for number, tenant in zip(range(TOKENS), itertools.cycle(tenants), strict=False):
        claims = jwt.decode(tenant.token, options={"verify_signature": False})
        key_id = jwt.get_unverified_header(tenant.token)["kid"]
        token = jwt.encode(claims | {"jti": str(number)}, key, headers={"kid": key_id})
        made.append(request("GET", "/api/users/me", token))
    return made


async def fill_caches(requests: list[bytes]) -> None:
    """Send all of them, so that what a worker keeps is there before anything is measured: a cache
    that fills would look like a leak."""
    next_request, sent = itertools.cycle(requests).__next__, 0
    while sent < len(requests):
        run = await run_load(PORT, next_request, connections=CONNECTIONS, seconds=5)
        sent += sum(run.statuses.values())


class Churn:
    """What comes and goes beside."""

    def __init__(self, operator: str, tenants: list[Tenant]) -> None:
        self._operator = operator
        self._tenants = tenants
        self._numbers = itertools.count(1)
        self._chance = random.Random(2)  # no secret
        self.done: Counter[str] = Counter()

    async def live_and_die(self) -> None:
        """A tenant is added, works, is suspended, and is purged; every other one is dedicated."""
        number = next(self._numbers)
        name, email = f"Passing {number}", f"owner@passing{number}.example"
        new: dict[str, Any] = {"name": name, "email": email, "password": PASSWORD}
        if number % 2:
            new["isolation"] = "dedicated"
        made = await self._ask("POST", "/api/add", self._operator, new)
        path = f"/api/tenants/{made['tenantId']}"
        login = await self._ask("POST", "/api/login", None, {"email": email, "password": PASSWORD})
        owner = login["accessToken"]
        for _ in range(3):
            await self._ask("POST", "/api/to-do-list", owner, {"title": "Buy milk"})
        if number % 2:
            await self._ask("POST", f"{path}/rotate-credentials", self._operator)
            await self._ask("GET", "/api/users/me", owner)
        await self._ask("POST", f"{path}/suspend", self._operator)
        await self._ask("GET", "/api/users/me", owner)
        await self._ask("DELETE", path, self._operator)
        await self._ask("POST", f"{path}/purge", self._operator, {"confirm": name})
        self.done["tenants"] += 1

    async def log_in(self) -> None:
        """Somebody logs in, and out again; somebody else does not know the password."""
        email = self._chance.choice(self._tenants).email
        login = await self._ask("POST", "/api/login", None, {"email": email, "password": PASSWORD})
        await self._ask("POST", "/api/login", None, {"email": email, "password": "wrong"})
        await self._ask("POST", "/api/logout", login["accessToken"])
        self.done["logins"] += 2

    async def hang_up(self) -> None:
        """A client sends nothing, half a request, or one whose answer it does not wait for."""
        tenant = self._chance.choice(self._tenants)
        whole = request("POST", "/api/to-do-list", tenant.token, {"title": "never mind"})
        _, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(self._chance.choice([b"", whole[:40], whole[:-5], whole]))
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
        self.done["hung up"] += 1

    async def _ask(self, method: str, path: str, token: str | None, body: Any = None) -> Any:
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        try:
            writer.write(request(method, path, token, body))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head[head.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
            answered = json.loads(await reader.readexactly(length))
        finally:
            writer.close()
        self.done[f"{answered['statusCode']}"] += 1
        if answered["statusCode"] >= 500:
            raise RuntimeError(f"{method} {path}: {answered}")
        return answered["responseObject"]


class Observer:
    """Looks at the workers and at mongod."""

    def __init__(self, running: RunningSide, mongod: EmbeddedServer) -> None:
        self._workers = running.workers()
        self._client = MongoClient[dict[str, Any]](mongod.uri)
        self._started = time.monotonic()
        self.samples: list[Sample] = []

    def look(self) -> None:
        """Take a sample."""
        status = self._client.admin.command("serverStatus")
        held = [
            (worker.memory_info().rss / 2**20, worker.num_threads(), worker.num_fds())
            for worker in self._workers
        ]
        memory, threads, descriptors = (list(values) for values in zip(*held, strict=True))
        self.samples.append(
            Sample(
                seconds=time.monotonic() - self._started,
                memory_mib=memory,
                threads=threads,
                descriptors=descriptors,
                mongod_connections=status["connections"]["current"],
            )
        )

    async def look_again_and_again(self) -> None:
        """Take samples for ever."""
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(SAMPLE_SECONDS)


async def again_and_again(work: Work, pause: float) -> None:
    """Do the work for ever, with so many seconds between."""
    while True:
        await work()
        await asyncio.sleep(pause)


async def soak(
    observer: Observer, churn: Churn, next_request: NextRequest, seconds: float
) -> Counter[int]:
    """Let everything run for so long; return how many answers there were of each status."""
    beside = [
        again_and_again(churn.live_and_die, 0.5),
        again_and_again(churn.log_in, 0.5),
        again_and_again(churn.hang_up, 0.1),
        observer.look_again_and_again(),
    ]
    tasks = [asyncio.create_task(work) for work in beside]
    load = asyncio.create_task(
        run_load(PORT, next_request, connections=CONNECTIONS, seconds=seconds)
    )
    await asyncio.wait([load, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            load.cancel()
            task.result()  # raises why it ended
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return (await load).statuses


def main() -> None:
    """Run it, print what was seen, and draw it; exit with 1 when something grew."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--worker-class", choices=["gevent", "gthread"], default="gevent")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "images" / "soak.svg")
    options = parser.parse_args()
    memory = Path("/dev/shm")
    side = sides(options.worker_class, threads=16)["ours"]
    # A worker that is replaced after so many requests would begin anew.
    changes = {"WORKERS": str(WORKERS), "GUNICORN_CMD_ARGS": "--max-requests 0"}
    side = replace(side, environment=side.environment | changes)
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        EmbeddedServer(Path(folder) / "mongodb") as mongod,
    ):
        environment = {
            "MULTITENANT_ENV": "development",
            "ADMIN_DB_URI": mongod.uri,
            "INSTANCE_PATH": folder,
            "BCRYPT_ROUNDS": "6",
            "ACCESS_TOKEN_SECONDS": "86400",
            "LOGIN_RATE_LIMIT": "1000000 per minute",
            "LOG_LEVEL": "WARNING",
            "OPERATOR_PASSWORD": PASSWORD,
            "TENANT_CACHE_SIZE": str(CACHED),
        }
        settings = load_settings(environment, env_file=None)
        operator, tenants = seed(settings, TENANTS)
        first = with_many_tokens(tenants, settings.jwt_secret_keys[0].get_secret_value())
        churn = Churn(operator, tenants)
        log = Path(folder) / "server.log"
        with RunningSide(side, PORT, environment, log) as running:
            asyncio.run(fill_caches(first))
            observer = Observer(running, mongod)
            statuses = asyncio.run(soak(observer, churn, mixed(tenants), options.minutes * 60))
        errors = log.read_text().count('"level":"ERROR"')
    total = sum(statuses.values())
    print(f"{total:,} requests of the steady clients: {dict(sorted(statuses.items()))}")
    print(f"Beside them: {dict(churn.done)}; lines of errors in the log: {errors}")
    found = verdicts(observer.samples, total)
    for line, _ in found:
        print(line)
    draw(observer.samples, options.plot)
    if errors or any(status >= 500 for status in statuses) or not all(flat for _, flat in found):
        sys.exit(1)


if __name__ == "__main__":
    main()
