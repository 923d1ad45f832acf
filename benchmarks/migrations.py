"""How long migrations take over all tenants, and how that grows with their number.

    python -m benchmarks.migrations --help

Starts a MongoDB of its own, adds tenants step by step, and at each step takes all of them back by
one migration and runs `multitenant migrations run` as a process of its own: with work to do, one
tenant at a time and several; with nothing to do; and with nothing to do but --verify, which looks
into every database.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.workloads import PASSWORD, seed
from multitenant.config import load_settings
from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.migrations import TENANT_VERSION

RUNS = {
    "one at a time": ("run", "--parallel", "1"),
    "several at a time": ("run", "--parallel", "{parallel}"),
    "nothing to do": ("run",),
    "nothing to do, --verify": ("run", "--verify", "--parallel", "{parallel}"),
}
PARAMETERS = {  # see __main__.py
    "wiredTigerFileHandleCloseIdleTime": "2",
    "wiredTigerFileHandleCloseScanInterval": "1",
    "wiredTigerFileHandleCloseMinimum": "100",
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tenants", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--parallel", type=int, default=8)
    options = parser.parse_args()
    memory = Path("/dev/shm")  # so that no disk decides
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        EmbeddedServer(Path(folder) / "mongodb", parameters=PARAMETERS) as server,
    ):
        environment = {
            "MULTITENANT_ENV": "development",
            "ADMIN_DB_URI": server.uri,
            "INSTANCE_PATH": folder,
            "BCRYPT_ROUNDS": "4",
            "LOG_LEVEL": "WARNING",
            "PROVISIONING_POOL_SIZE": "0",
            "OPERATOR_PASSWORD": PASSWORD,
        }
        print(f"{'tenants':>8}" + "".join(f"{name:>26}" for name in RUNS), flush=True)
        there = 0
        for count in sorted(options.tenants):
            seed(load_settings(environment, env_file=None), count - there, first=there)
            there = count
            seconds = list(measure(environment, options.parallel))
            print(
                f"{count:>8}"
                + "".join(f"{one:>12.1f} s {one / count * 1e3:>7.1f} ms" for one in seconds),
                flush=True,
            )
    print("ms are of each tenant.")


def measure(environment: dict[str, str], parallel: int) -> Iterator[float]:
    """Yield the seconds of each of RUNS."""
    for name, arguments in RUNS.items():
        if not name.startswith("nothing"):
            back = ("rollback", "--to", str(TENANT_VERSION - 1), "--parallel", "8", "--yes")
            migrations(environment, *back)
        started = time.perf_counter()
        migrations(environment, *(one.format(parallel=parallel) for one in arguments))
        yield time.perf_counter() - started


def migrations(environment: dict[str, str], *arguments: str) -> None:
    """Run the command; raises CalledProcessError when it fails."""
    subprocess.run(
        [sys.executable, "-m", "multitenant", "migrations", *arguments],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )


if __name__ == "__main__":
    main()
