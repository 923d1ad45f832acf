"""A server's worker processes: what each holds, and gunicorn's settings, some changed."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.server import GUNICORN, ROOT, Server

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").is_dir(), reason="what a process holds is read from Linux's /proc"
)


@dataclass(frozen=True)
class Held:
    """What a process holds at a moment."""

    mib: float
    """Of memory (the resident set)."""
    threads: int
    descriptors: int


def workers_of(server: Server) -> list[int]:
    """The process ids of the server's workers."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True)
    pairs = (line.split() for line in listed.stdout.splitlines())
    return [int(pid) for pid, parent in pairs if int(parent) == server.process.pid]


def held_by(pid: int) -> Held:
    """What the process holds now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    return Held(
        mib=int(status["VmRSS"].split()[0]) / 1024,
        threads=int(status["Threads"]),
        descriptors=len(list(Path(f"/proc/{pid}/fd").iterdir())),
    )


def gunicorn(directory: Path, limits: dict[str, float] | None = None, **settings: Any) -> Any:
    """The command that serves as gunicorn.conf.py says, but for these settings of gunicorn's, and
    these of `multitenant/serving/limits.py`."""
    shipped = ROOT / "gunicorn.conf.py"
    lines = [f"exec(open({str(shipped)!r}).read())"]
    lines += [f"{name} = {value!r}" for name, value in settings.items()]
    # The worker classes read them, later.
    lines += ["import multitenant.serving.limits as limits"]
    lines += [f"limits.{name.upper()} = {value!r}" for name, value in (limits or {}).items()]
    configuration = directory / "gunicorn.conf.py"
    configuration.write_text("\n".join(lines) + "\n")
    return (*GUNICORN[:-1], str(configuration), "wsgi:app")
