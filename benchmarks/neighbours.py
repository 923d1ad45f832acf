"""What one tenant costs the others.

    python -m benchmarks.neighbours --help

Runs this application with a few tenants, and measures: the memory of its worker before and after
one tenant's settings are listed, which are 99 of 65 KB each, full of empty objects; how long a
tenant's usage takes, which has 1,001 more collections; and logins of others, alone and beside 48
clients of one tenant who change their passwords in a loop.
"""

import argparse
import asyncio
import http.client
import json
import statistics
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo.database import Database

from benchmarks.__main__ import Bench
from benchmarks.load import Run, run_load
from benchmarks.sides import RunningSide, sides
from benchmarks.workloads import PASSWORD, Tenant, request
from multitenant.embedded import EmbeddedServer

SETTINGS = 99
EMPTY_OBJECTS = 65_000 // 3
COLLECTIONS = 1_001
CLIENTS = 48
LOGINS = 2


def list_large_settings(running: RunningSide, db: Database[Any], tenant: Tenant) -> None:
    """Print the memory of the worker before and after."""
    now = datetime.now(UTC)
    db["settings"].insert_many(
        {
            "_id": ObjectId(),
            "key": f"k{number}",
            "value": [{}] * EMPTY_OBJECTS,
            "createdAt": now,
            "updatedAt": now,
        }
        for number in range(SETTINGS)
    )
    (worker,) = running.workers()
    ask(running, "/api/users/me", tenant.token)
    before = worker.memory_info().rss
    highest = before
    path, pages = "/api/settings?limit=100", 0
    while path:
        body = ask(running, path, tenant.token)
        highest = max(highest, worker.memory_info().rss)
        pages += 1
        cursor = body["responseObject"]["nextCursor"]
        path = f"/api/settings?limit=100&cursor={cursor}" if cursor else ""
    print(
        f"{SETTINGS} settings of {3 * EMPTY_OBJECTS:,} bytes, all {pages} pages:"
        f" {before / 2**20:.0f} MiB before, {highest / 2**20:.0f} MiB at most"
    )


def measure_collections(running: RunningSide, db: Database[Any], bench: Bench) -> None:
    """Print how long the usage of a tenant with many collections takes."""
    for number in range(COLLECTIONS):
        db.create_collection(f"more{number}")
    tenant_id = db.name.removeprefix(bench.environment["TENANT_DB_PREFIX"])
    started = time.perf_counter()
    usage = ask(running, f"/api/tenants/{tenant_id}/usage", bench.operator)["responseObject"]
    seconds = time.perf_counter() - started
    print(
        f"Usage with {COLLECTIONS:,} more collections: {seconds:.2f} s,"
        f" {len(usage['collections'])} measured, {usage['unmeasuredCount']} not"
    )


def log_in_beside_password_changes(running: RunningSide, one: Tenant, other: Tenant) -> None:
    """Print how long logins of the other tenant take."""
    login = request("POST", "/api/login", body={"email": other.email, "password": PASSWORD})
    body = {"currentPassword": "not their password", "newPassword": PASSWORD}
    change = request("PUT", "/api/users/me/password", one.token, body)

    async def both() -> tuple[Run, Run]:
        return await asyncio.gather(
            run_load(running.port, lambda: login, connections=LOGINS, seconds=20),
            run_load(running.port, lambda: change, connections=CLIENTS, seconds=20),
        )

    alone = asyncio.run(run_load(running.port, lambda: login, connections=LOGINS, seconds=10))
    beside, changes = asyncio.run(both())
    print(f"Logins of another tenant, alone: {described(alone)}")
    print(f"Beside {CLIENTS} clients of one tenant: {described(beside)}")
    print(f"Those clients were answered: {dict(Counter(changes.statuses))}")


def described(run: Run) -> str:
    """The latencies and statuses of a run."""
    median = statistics.median(run.latencies) * 1000
    return f"{median:.0f} ms (median), {run.percentile(100):.0f} ms at most, {dict(run.statuses)}"


def ask(running: RunningSide, path: str, token: str) -> Any:
    """Return the body of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    body = json.loads(response.read())
    connection.close()
    if response.status != 200:
        raise RuntimeError(f"{path}: {response.status}: {body}")
    return body


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--bcrypt-rounds", type=int, default=12)
    parser.add_argument("--worker-class", choices=["gevent", "gthread"], default="gevent")
    options = parser.parse_args()
    options.tenants = [3]
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder) / "mongodb") as server,
    ):
        bench = Bench(options, server, Path(folder))
        # One tenant's requests would be refused long before they disturb anybody.
        bench.environment |= {"TENANT_MAX_CONCURRENCY": "64", "LOGIN_RATE_LIMIT": "1000 per second"}
        one, other, third = bench.tenants
        with bench.start(sides(options.worker_class, threads=64)["ours"]) as running:
            list_large_settings(running, bench.client[one.db_name], one)
            measure_collections(running, bench.client[third.db_name], bench)
            log_in_beside_password_changes(running, one, other)


if __name__ == "__main__":
    main()
