"""The running platform: workers over HTTP, what the command line does beside them, and a look at
MongoDB."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bson import ObjectId
from pymongo import MongoClient

from multitenant.errors import DomainError
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import DatabaseUser, connected_users
from multitenant.tenancy.operations.moving import Moved
from tests.faults.isolation.client import Answer, Line, Request, Token, Wire, open_lines
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD, World

Client = MongoClient[dict[str, Any]]
ASKERS = 8
"""Threads that ask; fewer than may hash passwords at a time."""


class RunningPlatform:
    """What the machine works on, for all of its examples."""

    def __init__(
        self,
        wire: Wire,
        processes: set[int],
        commands: World,
        clusters: dict[str, Client],
    ) -> None:
        """`commands` is a process of its own as far as the workers can see."""
        self.wire = wire
        self.commands = commands
        self.examples = self.steps = 0
        self.slowest = 0.0
        """For how long after a change the last old answer was still given, at most, in seconds."""
        self._clusters = clusters
        self._pool = ThreadPoolExecutor(ASKERS, thread_name_prefix="asks")
        session = self.log_in_operator()
        self.operator = session[0]
        self.lines: list[Line] = open_lines(wire, self.operator, processes)

    def log_in_operator(self) -> tuple[Token, Token]:
        """The tokens of a new session."""
        body = {"email": OPERATOR_EMAIL, "password": OPERATOR_PASSWORD}
        request = Request(kind="login", method="POST", path="/api/login", body=body)
        told = self.wire.send(request).object
        return Token.read(told["accessToken"]), Token.read(told["refreshToken"])

    def at_once(
        self, requests: Sequence[Request], acts: Sequence[Callable[[], Any]]
    ) -> tuple[list[Answer], list[Any]]:
        """Send the requests and do what else there is to do, all at the same time."""
        with ThreadPoolExecutor(max(1, len(acts)), thread_name_prefix="acts") as actors:
            first, rest = requests[: ASKERS // 2], requests[ASKERS // 2 :]
            asked = [self._pool.submit(self.wire.send, request) for request in first]
            acting = [actors.submit(act) for act in acts]
            asked += [self._pool.submit(self.wire.send, request) for request in rest]
            return [one.result() for one in asked], [one.result() for one in acting]

    def move(self, tenant_id: str, to: str) -> Moved | DomainError:
        """As `multitenant move` does."""
        moves = self.commands.platform.moves
        try:
            return moves.move(ObjectId(tenant_id), Actor.on_command_line(), to=to)
        except DomainError as error:
            return error

    def drop_kept(self, tenant_id: str) -> list[str] | DomainError:
        """As `multitenant move --confirm` does."""
        restoration = self.commands.platform.restoration
        try:
            return restoration.confirm(
                ObjectId(tenant_id), Actor.on_command_line(), action="tenant.confirm_move"
            )
        except DomainError as error:
            return error

    def place(self, tenant_id: str) -> tuple[str, str, str | None] | None:
        """Where the tenant's database is, and which MongoDB user opens it: cluster, name, user."""
        record = self.commands.admin_db["tenants"].find_one({"_id": ObjectId(tenant_id)})
        if record is None:
            return None
        user = None
        if credentials := record.get("credentials"):
            cipher = self.commands.platform.cipher
            user = DatabaseUser.of(record["_id"], credentials, cipher).name
        return record["cluster"], record["dbName"], user

    def await_users(self, cluster: str, db_name: str, user: str | None, seconds: float) -> None:
        """Wait until nobody is connected as a user of the database but `user`."""
        db = self._clusters[cluster][db_name]
        deadline = time.monotonic() + seconds
        while others := connected_users(db) - {user}:
            assert time.monotonic() < deadline, f"{others} are still connected to {db_name}"
            time.sleep(0.05)

    def close(self) -> None:
        self._pool.shutdown()
        for line in self.lines:
            line.close()
