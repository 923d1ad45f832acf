"""Disks without room, for a mongod of the tests: a small file system, where one may be mounted, or
a limit to the size of its files, which needs no right.

On the first, mongod cannot make or grow a file, and goes on for as long as it has journal left.
With the second it can write nothing at all.
"""

import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from multitenant.embedded import EmbeddedServer, find_mongod

SIZE_MIB = 500
LEFT_BYTES = 64 * 1024


class Disk(Protocol):
    """Where a mongod has its data."""

    server: EmbeddedServer
    goes_on: bool
    """Whether mongod lives on for a while without room."""

    def fill(self) -> None: ...
    def make_room(self) -> None: ...


class SmallFileSystem:
    """A file system in memory; filled with a file."""

    goes_on = True

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.server = EmbeddedServer(directory / "mongodb")

    def fill(self) -> None:
        free = shutil.disk_usage(self._directory).free
        with (self._directory / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free - LEFT_BYTES)

    def make_room(self) -> None:
        (self._directory / "ballast").unlink()


class LimitedFiles:
    """A limit to the size of mongod's files, which it is told of as an error and not a signal."""

    goes_on = False

    def __init__(self, directory: Path) -> None:
        wrapper = directory / "mongod"
        wrapper.write_text(f"#!/bin/sh\ntrap '' XFSZ\nexec {find_mongod()} \"$@\"\n")
        wrapper.chmod(0o700)
        self.server = EmbeddedServer(directory / "mongodb", binary=str(wrapper))

    def fill(self) -> None:
        assert self.server.pid
        _, hard = resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE, (1, hard))

    def make_room(self) -> None:
        """A server that is started again has no limit."""


@contextmanager
def mounted(directory: Path) -> Iterator[Path | None]:
    """A small file system; None where none may be mounted."""
    place = directory / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)
