"""Compare this application with its peers.

    make bench            (or: python -m benchmarks --help)

Starts a MongoDB of its own, makes the tenants, and compares this application with each peer: the
two run at once, one process each, and take short turns with the same data, tokens and requests,
after a warm-up that lasts until the rate is steady. A ratio is the median of those of all rounds,
so that it hardly depends on how fast the machine is at the time. A run that other load has
disturbed is dropped, and counted. Writes results/latest.json, results/latest.md and, with
Matplotlib, results/latest.svg.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from pymongo import MongoClient
from pymongo.uri_parser import parse_uri

from benchmarks.load import NextRequest, Run, run_load
from benchmarks.report import write_report
from benchmarks.sides import EXPRESS, RunningSide, Side, sides
from benchmarks.workloads import PASSWORD, Tenant, request, seed, tenant_indexes, workloads
from multitenant.config import load_settings
from multitenant.embedded import EmbeddedServer

PORT = 5099
CONNECTIONS = {"login": 2, "add": 1, "add-8": 8, "invite": 1, "invite-8": 8}
"""Of workloads that have a number of their own."""
ADDING = tuple(name for name in CONNECTIONS if name != "login")
STEADY = 0.05
"""Two seconds of warm-up whose rate differs less from the two before are steady."""
MAX_WARM_UP = 20
LEAD_SECONDS = 2
"""Not measured, at the start of each turn: Node.js cleans up while it is idle, and answers slowly
for most of a second then."""
MAX_OTHER_LOAD = 0.1
"""Of all cores: a run with more load than this from elsewhere is dropped."""


@dataclass(frozen=True)
class Figures:
    """One run of one side."""

    side: str
    round: int
    """Its number; runs of the same round followed each other."""
    tenants: int
    workload: str
    rate: float
    p50: float
    p99: float
    cpu_us: float
    """CPU time of the side's processes per request, in microseconds."""
    server_connections: int
    memory_mib: float
    threads: int
    other_load: float


@dataclass(frozen=True)
class FirstRequests:
    """Medians, in milliseconds, of requests for one's own account."""

    of_a_tenant: float
    """From a session and a tenant that the process does not know."""
    of_a_session: float
    """From another session, of the tenant that it knows by now."""
    later: float
    """From that session again."""


class Bench:
    """A MongoDB with tenants, and what runs against it."""

    def __init__(self, options: argparse.Namespace, server: EmbeddedServer, folder: Path) -> None:
        self.options = options
        self.folder = folder
        self.environment = {
            "MULTITENANT_ENV": "development",
            "ADMIN_DB_URI": server.uri,
            "ADMIN_DB_NAME": "multitenant_admin",
            "TENANT_DB_PREFIX": "tenant_",
            "INSTANCE_PATH": str(folder),
            "JWT_SECRET_KEYS": secrets.token_hex(32),
            "ACCESS_TOKEN_SECONDS": "86400",
            "BCRYPT_ROUNDS": str(options.bcrypt_rounds),
            # Out of the way, and yet no more moments to keep for each email than by default.
            "LOGIN_RATE_LIMIT": "200 per second",
            "TENANT_MAX_CONCURRENCY": "256",
            "LOG_LEVEL": "WARNING",
            "OPERATOR_PASSWORD": PASSWORD,
        }
        self.mongod = psutil.Process(server.pid)
        self.client = MongoClient[dict[str, Any]](server.uri)
        self.rounds = 0
        """How many there were so far."""
        self.server_port: int = parse_uri(server.uri)["nodelist"][0][1]
        settings = load_settings(self.environment, env_file=None)
        print(f"Making {max(options.tenants)} tenants …", flush=True)
        self.operator, self.tenants = seed(settings, max(options.tenants))
        # From here on as in production, where the files of tenants in use stay open.
        files = "file_manager=(close_idle_time=20,close_scan_interval=10)"
        self.client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=files)
        db = self.client[self.tenants[0].db_name]
        self.environment["FLOOR_DB_NAME"] = db.name
        self.environment["TENANT_INDEXES"] = json.dumps(tenant_indexes(db))

    def start(self, side: Side, port: int = PORT) -> RunningSide:
        """Start a side."""
        return RunningSide(side, port, self.environment, self.folder / f"{side.name}.log")

    def run(self, chosen: list[Side], count: int) -> tuple[list[Figures], dict[str, float]]:
        """Start these sides, let them take turns in every workload on so many tenants, and return
        what was measured, and the seconds to the first answer of each."""
        many = workloads(self.operator, self.tenants[:count], skewed=self.options.skewed)
        one = workloads(self.operator, self.tenants[:1], skewed=False)
        found = []
        with ExitStack() as stack:
            running = []
            for port, side in enumerate(chosen, PORT):
                requests = one if side.one_tenant else many
                started = stack.enter_context(self.start(side, port))
                self._load(started, requests["me"], 64, MAX_WARM_UP, until_steady=True)
                running.append((started, requests))
            for name in self.options.workloads:
                taking_part = [
                    (each, requests[name])
                    for each, requests in running
                    if each.side.writes_accounts or name not in CONNECTIONS
                ]
                found += self._take_turns(taking_part, name, count)
            return found, {each.side.name: each.start_seconds for each, _ in running}

    def _take_turns(
        self, taking_part: list[tuple[RunningSide, NextRequest]], name: str, count: int
    ) -> list[Figures]:
        """Measure each side once in each round, so that all have the same share of the machine's
        good times and bad ones."""
        connections = CONNECTIONS.get(name, self.options.connections)
        there = set(self.client.list_database_names()) if name in ADDING else None
        found = []
        for running, next_request in taking_part:
            warm_up = 2 if name in ADDING else MAX_WARM_UP
            self._load(running, next_request, connections, warm_up, until_steady=True)
            self._drop_all_but(there)
        for _ in range(self.options.rounds):
            self.rounds += 1
            for running, next_request in taking_part:
                if name not in ADDING:
                    self._load(running, next_request, connections, LEAD_SECONDS)
                figures = self._measure(running, count, name, next_request, connections)
                print(_line(figures), flush=True)
                found.append(figures)
                self._drop_all_but(there)
        return found

    def _drop_all_but(self, there: set[str] | None) -> None:
        """Drop the databases that were added since, so that all sides add to equally many. Those
        that this application keeps ready stay: it counts on them. None where nothing is added."""
        if there is None:
            return
        notes = self.client[self.environment["ADMIN_DB_NAME"]]["provisionings"].find()
        there |= {note["dbName"] for note in notes}
        with ThreadPoolExecutor(32) as pool:
            added = set(self.client.list_database_names()) - there
            list(pool.map(self.client.drop_database, added))

    def _load(
        self,
        running: RunningSide,
        next_request: NextRequest,
        connections: int,
        seconds: float,
        *,
        until_steady: bool = False,
    ) -> Run:
        def send(for_seconds: float) -> Run:
            return asyncio.run(
                run_load(running.port, next_request, connections=connections, seconds=for_seconds)
            )

        if not until_steady:
            return send(seconds)
        deadline, last = time.monotonic() + seconds, 0.0
        while True:
            run = send(2)
            if abs(run.rate - last) < STEADY * run.rate or time.monotonic() > deadline:
                return run
            last = run.rate

    def _measure(
        self,
        running: RunningSide,
        count: int,
        name: str,
        next_request: NextRequest,
        connections: int,
    ) -> Figures:
        ours = (running.cpu_seconds, lambda: sum(self.mongod.cpu_times()[:2]), _own_cpu)
        busy, mine = _busy(), [cpu() for cpu in ours]
        run = self._load(running, next_request, connections, self.options.seconds)
        spent = [cpu() - at for cpu, at in zip(ours, mine, strict=True)]
        other = (_busy() - busy - sum(spent)) / (run.seconds * (os.cpu_count() or 1))
        if not run.latencies:
            raise RuntimeError(f"{running.side.label}, {name}: no answer in time; see --seconds")
        wrong = {status: n for status, n in run.statuses.items() if status not in (200, 201)}
        if wrong:
            log = (self.folder / f"{running.side.name}.log").read_text(errors="replace")
            raise RuntimeError(f"{running.side.label}, {name}: answered {wrong}\n{log[-3000:]}")
        held = running.resources(self.server_port)
        return Figures(
            side=running.side.name,
            round=self.rounds,
            tenants=count,
            workload=name,
            rate=run.rate,
            p50=run.percentile(50),
            p99=run.percentile(99),
            cpu_us=spent[0] / len(run.latencies) * 1e6,
            server_connections=held.server_connections,
            memory_mib=held.memory_mib,
            threads=held.threads,
            other_load=other,
        )

    def first_requests(self, side: Side) -> FirstRequests:
        """Measure the first requests of tenants and sessions, one at a time. MongoDB has just
        served the same document, so that what differs is the side's."""
        chance = random.Random(1)  # no secret
        chosen = chance.sample(self.tenants, min(200, len(self.tenants)))
        with self.start(side) as running:
            warm = request("GET", "/api/users/me", self.operator)
            self._load(running, lambda: warm, 1, 2)
            times = asyncio.run(self._ask_each(running.port, chosen))
        medians = (statistics.median(of_one) * 1000 for of_one in zip(*times, strict=True))
        return FirstRequests(*medians)

    async def _ask_each(self, port: int, tenants: list[Tenant]) -> list[list[float]]:
        """Return the seconds that the requests of FirstRequests took, for each tenant."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        times: list[list[float]] = []
        for tenant in tenants:
            self.client[tenant.db_name]["users"].find_one()
            times.append([])
            for token in (tenant.token, tenant.other_token, tenant.other_token):
                started = time.perf_counter()
                writer.write(request("GET", "/api/users/me", token))
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head[head.index(b"content-length:") + 15 :].split(b"\r\n", 1)[0])
                await reader.readexactly(length)
                times[-1].append(time.perf_counter() - started)
        writer.close()
        return times


def _pairs(chosen: list[Side]) -> list[list[Side]]:
    """The first with each of the others."""
    return [[chosen[0], other] for other in chosen[1:]] or [chosen]


def _busy() -> float:
    """Seconds that all cores have worked since the start."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - times.iowait - times.guest - times.guest_nice)


def _own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _line(figures: Figures) -> str:
    return (
        f"  {figures.side:22} {figures.tenants:5} tenants  {figures.workload:7}"
        f" {figures.rate:7.0f}/s  p50 {figures.p50:6.1f} ms  p99 {figures.p99:7.1f} ms"
        f"  {figures.cpu_us:6.0f} µs CPU  {figures.server_connections:5} connections"
        f"  {figures.memory_mib:5.0f} MiB  {figures.threads:3} threads"
    )


def _install_peers(chosen: list[str]) -> None:
    if {"use-db", "connection-per-tenant"} & set(chosen) and not (
        EXPRESS / "node_modules"
    ).exists():
        print("Installing the packages of the Express peers …", flush=True)
        subprocess.run(["npm", "ci", "--silent"], cwd=EXPRESS, check=True)


def main() -> None:
    """Run what is asked for."""
    names = list(sides("gevent", 1))
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tenants", type=int, nargs="+", default=[1, 100, 1000])
    parser.add_argument("--sides", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--workloads",
        nargs="+",
        choices=["me", "list", "create", "mix", *CONNECTIONS],
        default=["me", "list", "create", "mix", *CONNECTIONS],
    )
    parser.add_argument("--rounds", type=int, default=5, help="of turns, in each workload")
    parser.add_argument("--seconds", type=float, default=3, help="of each turn")
    parser.add_argument("--connections", type=int, default=64, help="kept alive by the clients")
    parser.add_argument("--worker-class", choices=["gevent", "gthread"], default="gevent")
    parser.add_argument("--threads", type=int, default=4, help="of gthread")
    parser.add_argument("--bcrypt-rounds", type=int, default=10)
    parser.add_argument("--skewed", action="store_true", help="the n-th tenant 1/n as often")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    _install_peers(options.sides)
    available = sides(options.worker_class, options.threads)
    chosen = [side for name, side in available.items() if name in options.sides]
    parameters = {  # or mongod would hold more files open while tenants are made than it may
        "wiredTigerFileHandleCloseIdleTime": "2",
        "wiredTigerFileHandleCloseScanInterval": "1",
        "wiredTigerFileHandleCloseMinimum": "100",
    }
    memory = Path("/dev/shm")  # so that no disk decides
    kept: list[Figures] = []
    dropped: list[Figures] = []
    starts: dict[str, list[float]] = defaultdict(list)
    firsts: dict[str, FirstRequests] = {}
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        EmbeddedServer(Path(folder) / "mongodb", parameters=parameters) as server,
    ):
        bench = Bench(options, server, Path(folder))
        for count in options.tenants:
            for compared in _pairs(chosen):
                print(f"{', '.join(side.label for side in compared)}:", flush=True)
                found, seconds = bench.run(compared, count)
                for name, of_start in seconds.items():
                    starts[name].append(of_start)
                for figures in found:
                    (kept if figures.other_load < MAX_OTHER_LOAD else dropped).append(figures)
        for side in chosen:
            if not side.one_tenant:
                firsts[side.name] = bench.first_requests(side)
    write_report(
        options.output,
        kept=kept,
        dropped=len(dropped),
        starts=starts,
        firsts={name: asdict(of_side) for name, of_side in firsts.items()},
        labels={side.name: side.label for side in chosen},
        command=" ".join(["python -m benchmarks", *sys.argv[1:]]),
    )


if __name__ == "__main__":
    main()
