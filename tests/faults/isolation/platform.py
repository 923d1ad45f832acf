"""The running platform: workers over HTTP, what the command line does beside them, and a look at
MongoDB."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
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
ASKERS = 6
"""Threads that ask; fewer than may hash passwords at a time."""
ACTORS = 8
"""Threads that act meanwhile: three changes, one of which sends several requests."""
QUESTIONS = 24
"""That are asked as fast as they are answered."""
PAUSE_SECONDS = 0.02
"""Between the further ones of each thread."""


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
        self.examples = self.steps = self.asked = 0
        self.failures: list[str] = []
        """What was wrong, first in the example that Hypothesis then makes smaller."""
        self.slowest = 0.0
        """For how long after a change the last old answer was still given, at most, in seconds."""
        self._clusters = clusters
        self._pool = ThreadPoolExecutor(ASKERS + ACTORS, thread_name_prefix="asks")
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
        self, acts: Sequence[Callable[[], Any]], questions: Iterator[Request]
    ) -> tuple[list[Any], list[tuple[Request, Answer]]]:
        """Do these at the same time, and ask on for as long as it takes; return their results, and
        each question with its answer."""
        answered: list[tuple[Request, Answer]] = []
        acting = [self._pool.submit(act) for act in acts]
        taking = threading.Lock()

        def take() -> Request | None:
            with taking:
                self.asked += 1
                enough = self.asked >= QUESTIONS and all(one.done() for one in acting)
                return None if enough else next(questions, None)

        def ask() -> None:
            while question := take():
                answered.append((question, self.wire.send(question)))
                if self.asked > QUESTIONS:
                    time.sleep(PAUSE_SECONDS)

        self.asked = 0
        asking = [self._pool.submit(ask) for _ in range(ASKERS)]
        for one in asking:
            one.result()
        return [one.result() for one in acting], answered

    def together(self, requests: Sequence[Request]) -> list[Answer]:
        """Send the requests at the same time."""
        sent = [self._pool.submit(self.wire.send, request) for request in requests]
        return [one.result() for one in sent]

    def for_each_worker(self, ask: Callable[[Line], None]) -> None:
        """Do this with a line to each worker, at the same time."""
        for one in [self._pool.submit(ask, line) for line in self.lines]:
            one.result()

    def move(self, tenant_id: str, to: str) -> Moved | DomainError:
        """As `multitenant move` does."""
        moves = self.commands.platform.moves
        try:
            return moves.move(ObjectId(tenant_id), Actor.on_command_line(), to=to)
        except DomainError as error:
            return error

    def drop_kept(self, tenant_id: str) -> list[str]:
        """As `multitenant move --confirm` does."""
        return self.commands.platform.restoration.confirm(
            ObjectId(tenant_id), Actor.on_command_line(), action="tenant.confirm_move"
        )

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
