"""A real replica set of three members with authentication, whose members can be killed.

It tells, by what the members themselves have logged, when there was a primary that took writes.
"""

import json
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from multitenant.embedded import COMPRESSORS, find_mongod
from tests.e2e.server import free_port

Client = MongoClient[dict[str, Any]]
NAME = "three"
USER = "multitenant"
ELECTION_MS = 4000
"""How long the others wait for a primary that says nothing before they elect another one."""
START_SECONDS = 60.0
# Of mongod's log messages, by number.
TAKES_WRITES = 21331
STEPS_DOWN = 21582
"""It takes no more writes from here on, but is the primary until another one has caught up."""
CHANGES_STATE = 21358
OF_INTEREST = tuple(f'"id":{number},' for number in (TAKES_WRITES, STEPS_DOWN, CHANGES_STATE))
Span = tuple[float, float]


class Place(Protocol):
    """Where a member runs."""

    @property
    def address(self) -> str:
        """Its address."""

    @property
    def prefix(self) -> tuple[str, ...]:
        """What comes before a command that is to run there."""

    def run(self, work: Callable[[], None]) -> None:
        """Do the work from there."""


class Loopback:
    """The place of those that are all in one."""

    address = "127.0.0.1"
    prefix: tuple[str, ...] = ()

    def run(self, work: Callable[[], None]) -> None:
        """Do it."""
        work()


class Member:
    """One mongod."""

    def __init__(self, directory: Path, key_file: Path, place: Place) -> None:
        directory.mkdir()
        self.place = place
        self.port = free_port()
        self.host = f"{place.address}:{self.port}"
        self._directory = directory
        self._key_file = key_file
        self._process: subprocess.Popen[bytes] | None = None
        self._killed_at: list[float] = []

    def start(self) -> None:
        """Start it on the data that it has, if any."""
        data = self._directory / "data"
        data.mkdir(exist_ok=True)
        command: list[str | Path] = [
            *self.place.prefix,
            *(find_mongod(), "--dbpath", data, "--port", str(self.port)),
            *("--bind_ip", ",".join({"127.0.0.1", self.place.address})),
            *("--replSet", NAME, "--keyFile", self._key_file, "--nounixsocket"),
            *("--networkMessageCompressors", COMPRESSORS),
            *("--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "128"),
            *("--setParameter", "shutdownTimeoutMillisForSignaledShutdown=100"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self._process is not None
        self._process.kill()
        self._killed_at.append(time.time())
        self._process.wait()

    def pause(self) -> None:
        """Let it do nothing until go_on(), as one does that nobody can reach."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End that."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def primary_spans(self) -> Iterator[Span]:
        """When it took writes, as it has logged itself: from and until, by time.time()."""
        ends = sorted([*self._killed_at, float("inf")])
        since, stepping_down = None, float("inf")
        for at, number, attributes in self._logged():
            if since is not None and ends[0] < at:
                yield since, ends[0]
                since = None
            while ends[0] < at:
                ends.pop(0)
            if number == TAKES_WRITES:
                since, stepping_down = at, float("inf")
            elif number == STEPS_DOWN:
                stepping_down = at  # the last attempt, if there were several
            elif since is not None and attributes.get("oldState") == "PRIMARY":
                yield since, min(at, stepping_down)
                since = None
        if since is not None:
            yield since, ends[0]

    @property
    def _log(self) -> Path:
        return self._directory / "mongod.log"

    def _logged(self) -> Iterator[tuple[float, int, dict[str, Any]]]:
        for line in self._log.read_text(errors="replace").splitlines():
            if any(number in line for number in OF_INTEREST):
                entry = json.loads(line)
                at = datetime.fromisoformat(entry["t"]["$date"]).timestamp()
                yield at, entry["id"], entry.get("attr", {})


class ReplicaSet:
    """Three of them, started by `with`."""

    def __init__(self, directory: Path, *places: Place) -> None:
        """Each member has its place, all on loopback if none are named."""
        key_file = directory / "keyfile"
        everywhere: Sequence[Place] = places or [Loopback()] * 3
        key_file.touch(mode=0o600)
        key_file.write_text(secrets.token_hex(64))
        self._password = secrets.token_hex(24)
        self.members = [
            Member(directory / f"member{number}", key_file, place)
            for number, place in enumerate(everywhere)
        ]
        self._client: Client | None = None

    @property
    def uri(self) -> str:
        """The connection string, with all rights."""
        hosts = ",".join(member.host for member in self.members)
        return f"mongodb://{USER}:{self._password}@{hosts}/?replicaSet={NAME}&authSource=admin"

    @property
    def client(self) -> Client:
        """A client with all rights."""
        assert self._client is not None
        return self._client

    def primary(self) -> Member:
        """The member that takes writes, as soon as there is one."""
        hello = self._eventually(lambda: self.client.admin.command("hello"))
        return next(member for member in self.members if member.host == hello["me"])

    def step_down(self) -> None:
        """Let the primary hand over to another member."""
        command = {"replSetStepDown": 30, "secondaryCatchUpPeriodSecs": 10}

        def hand_over() -> bool:
            try:
                self.client.admin.command(command)
            except AutoReconnect:  # it has cut its connections
                return True
            except OperationFailure:  # no other member has caught up yet
                return False
            return True

        self._eventually(hand_over)

    def set_election_timeout(self, milliseconds: int) -> None:
        """Let members notice only after so long that there is no primary, and a primary that it is
        alone."""
        config = self.client.admin.command("replSetGetConfig")["config"]
        config["settings"]["electionTimeoutMillis"] = milliseconds
        config["version"] += 1
        self.client.admin.command("replSetReconfig", config)

    def await_members(self) -> None:
        """Return when all three are there, one of them as the primary."""

        def complete() -> bool:
            members = self.client.admin.command("replSetGetStatus")["members"]
            return sorted(it["stateStr"] for it in members) == ["PRIMARY", *["SECONDARY"] * 2]

        self._eventually(complete)

    def without_primary(self, since: float) -> list[Span]:
        """When, after that time, no member took writes."""
        spans = sorted(span for member in self.members for span in member.primary_spans())
        gaps = []
        for start, end in spans:
            if start > since:
                gaps.append((since, start))
            since = max(since, end)
        return gaps

    def __enter__(self) -> Self:
        try:
            for member in self.members:
                member.start()
            self._initiate()
            self._client = Client(self.uri, tz_aware=True, serverMonitoringMode="poll")
            self.await_members()
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
        if self._client is not None:
            self._client.close()
        for member in self.members:
            member.stop()

    def _initiate(self) -> None:
        """Make a replica set of them, and the user, which is allowed from loopback until there is
        one."""
        config = {
            "_id": NAME,
            "members": [
                {"_id": number, "host": member.host} for number, member in enumerate(self.members)
            ],
            "settings": {"electionTimeoutMillis": ELECTION_MS, "heartbeatIntervalMillis": 500},
        }
        for member in self.members:
            with Client(member.host, directConnection=True) as client:
                self._eventually(lambda client=client: client.admin.command("hello"))  # type: ignore[misc]
        self.members[0].place.run(lambda: self._make_user(config))

    def _make_user(self, config: dict[str, Any]) -> None:
        with Client("127.0.0.1", self.members[0].port, directConnection=True) as client:
            client.admin.command("replSetInitiate", config)
            self._eventually(lambda: client.admin.command("hello")["isWritablePrimary"])
            client.admin.command("createUser", USER, pwd=self._password, roles=["root"])

    @staticmethod
    def _eventually(ask: Callable[[], Any]) -> Any:
        """Return the answer once there is one."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if answer := ask():
                    return answer
            except PyMongoError as error:
                if time.monotonic() > deadline:
                    raise AssertionError("the replica set does not get there") from error
            assert time.monotonic() < deadline, "the replica set does not get there"
            time.sleep(0.05)
