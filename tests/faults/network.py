"""Two network namespaces of Linux, which can be cut off from each other and not from the tests."""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")
SUBNET = "10.213.77"
BRIDGE = "multitenant0"
NEW_NET = 0x40000000


def can_be_made() -> bool:
    """Whether this process may make namespaces."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


class Namespace:
    """A place with an address of its own."""

    def __init__(self, number: int) -> None:
        self.name = f"multitenant{number}"
        self.address = f"{SUBNET}.{number + 1}"
        self.prefix: tuple[str, ...] = ("ip", "netns", "exec", self.name)
        """Before a command that is to run there."""

    def make(self) -> None:
        _ip("netns", "add", self.name)
        outside = f"veth{self.name[-1]}mt"
        _ip("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        _ip("link", "set", outside, "master", BRIDGE, "up")
        for command in (
            f"addr add {self.address}/24 dev eth0",
            "link set eth0 up",
            "link set lo up",
        ):
            _ip("-n", self.name, *command.split())

    def run(self, work: Callable[[], T]) -> T:
        """Do the work in a thread whose connections begin there."""

        def enter_and_work() -> T:
            with Path(f"/var/run/netns/{self.name}").open() as namespace:
                libc = ctypes.CDLL(None, use_errno=True)
                if libc.setns(namespace.fileno(), NEW_NET):
                    raise OSError(ctypes.get_errno(), "setns")
            return work()

        with ThreadPoolExecutor(1) as pool:
            return pool.submit(enter_and_work).result()


class Network:
    """Both of them, for a `with` block."""

    def __init__(self) -> None:
        self.here, self.there = Namespace(1), Namespace(2)

    def cut(self) -> None:
        """Let nothing pass between them any more."""
        _ip("-n", self.here.name, "route", "add", "blackhole", f"{self.there.address}/32")

    def __enter__(self) -> Self:
        try:
            _ip("link", "add", BRIDGE, "type", "bridge")
            _ip("addr", "add", f"{SUBNET}.1/24", "dev", BRIDGE)
            _ip("link", "set", BRIDGE, "up")
            self.here.make()
            self.there.make()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for namespace in (self.here, self.there):
            subprocess.run(["ip", "netns", "delete", namespace.name], check=False)
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
