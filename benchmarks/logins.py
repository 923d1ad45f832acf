"""What logins reach of what bcrypt alone does on the same cores, and what they cost everybody else.

    python -m benchmarks.logins --help

Runs this application: `GET /api/users/me` by itself, logins by themselves, and both at once, in
turns; and bcrypt by itself, in as many threads as there are cores.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import bcrypt

from benchmarks.__main__ import Bench
from benchmarks.load import NextRequest, Run, run_load
from benchmarks.sides import sides
from benchmarks.workloads import PASSWORD, workloads
from multitenant.embedded import EmbeddedServer

READERS = 8
LOGINS = 4 * (os.cpu_count() or 1)


def bcrypt_alone(rounds: int, seconds: float) -> float:
    """Return how many hashes a second all cores make."""
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(rounds))
    counts: list[int] = []
    end = time.perf_counter() + seconds

    def work() -> None:
        done = 0
        while time.perf_counter() < end:
            bcrypt.checkpw(PASSWORD.encode(), hashed)
            done += 1
        counts.append(done)

    threads = [threading.Thread(target=work) for _ in range(os.cpu_count() or 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / seconds


async def both(
    port: int, reads: NextRequest, logins: NextRequest, seconds: float
) -> tuple[Run, Run]:
    """Run both loads at once."""
    return await asyncio.gather(
        run_load(port, reads, connections=READERS, seconds=seconds),
        run_load(port, logins, connections=LOGINS, seconds=seconds),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tenants", type=int, nargs=1, default=[20])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--bcrypt-rounds", type=int, default=10)
    parser.add_argument("--worker-class", choices=["gevent", "gthread"], default="gevent")
    options = parser.parse_args()
    side = sides(options.worker_class, threads=16)["ours"]
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedServer(Path(folder) / "mongodb") as server,
    ):
        bench = Bench(options, server, Path(folder))
        wanted = workloads(bench.operator, bench.tenants, skewed=False)
        found: dict[str, list[float]] = {}

        def note(name: str, value: float) -> None:
            found.setdefault(name, []).append(value)

        with bench.start(side) as running:
            asyncio.run(both(running.port, wanted["me"], wanted["login"], 3))
            for _ in range(options.rounds):
                note("bcrypt alone, hashes/s", bcrypt_alone(options.bcrypt_rounds, options.seconds))
                alone = asyncio.run(
                    run_load(
                        running.port, wanted["login"], connections=LOGINS, seconds=options.seconds
                    )
                )
                note("logins/s", alone.statuses[200] / alone.seconds)
                reads = asyncio.run(
                    run_load(
                        running.port, wanted["me"], connections=READERS, seconds=options.seconds
                    )
                )
                note("reads alone, p99 ms", reads.percentile(99))
                beside, logins = asyncio.run(
                    both(running.port, wanted["me"], wanted["login"], options.seconds)
                )
                note("reads beside logins, p99 ms", beside.percentile(99))
                note("logins/s beside reads", logins.statuses[200] / logins.seconds)
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, value in medians.items():
        print(f"{name:32} {value:8.1f}")
    of_bcrypt = medians["logins/s"] / medians["bcrypt alone, hashes/s"]
    longer = medians["reads beside logins, p99 ms"] / medians["reads alone, p99 ms"]
    print(
        f"Logins reach {of_bcrypt:.2f} of bcrypt alone; p99 of reads is {longer:.1f} x beside them."
    )


if __name__ == "__main__":
    main()
