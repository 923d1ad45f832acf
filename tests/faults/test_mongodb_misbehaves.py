"""MongoDB misbehaves once, or for good, at every operation of the OpenAPI document.

Once: the request is answered as if nothing had happened, and has done exactly what it does then.
For good: 503 with `Retry-After`, nothing is changed, and what comes after works.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymongo import common

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.connections import pools_of
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.deployments import clients
from tests.conftest import MakeWorld, leakless_worlds, own_environment
from tests.failpoints import Client, end_faults, fail
from tests.faults.budget import LONG, seconds
from tests.faults.interference import (
    ALWAYS,
    EVERY_COMMAND,
    ONCE,
    Fault,
    Step,
    Watch,
    fail_at,
    watch_with,
    watched,
)
from tests.faults.valid_requests import Operation, Request, ValidRequests, operations
from tests.leftovers import drop_leftovers
from tests.support import World, refusal

pytestmark = pytest.mark.slow

HASTY_MS = 500
TRANSACTION_SECONDS = 60
"""How long MongoDB keeps a transaction that nobody goes on with, unless told otherwise."""
BY_THE_WAY = {"ratelimits", "ratelimitcounters", "processes", "handshakes", "heartbeats", "turns"}
"""Collections in which requests leave what says nothing of their success."""
LEFT_FOR_GC = ({"admin.provisionings": 1}, {"admin.provisionings": 1, "databases": 1})
"""The note of a database without a tenant; the database, too, if that was made."""
Counts = dict[str, int]


class Stage:
    """Two applications on the same databases, of which one gives MongoDB time and one does not,
    and requests that succeed."""

    def __init__(self, world: World, hasty: World, mongo: Client) -> None:
        self.world = world
        self.hasty = hasty
        self.mongo = mongo
        self.requests = ValidRequests(world)
        for one in (world, hasty):
            watch_with(one.recorder)
            one.platform.watcher.ensure_running()
            one.platform.cluster_report.stop()  # it would start a thread in any of the tests
        self._known: dict[Operation, tuple[int, Counts, list[Step]]] = {}

    def undisturbed(self, operation: Operation) -> tuple[int, Counts, list[Step]]:
        """What the operation answers, changes, and sends to MongoDB."""
        if operation not in self._known:
            watch = Watch()
            status, changed = self.play(self.world, operation, watch)
            assert status < 300, f"{operation}: {status}"
            self._known[operation] = status, changed, watch.steps
        return self._known[operation]

    def play(self, world: World, operation: Operation, watch: Watch) -> tuple[int, Counts]:
        """Send a request of the operation to this application, which has forgotten what it knew of
        tenants and tokens; return the status, and by how much the collections have grown."""
        request = self.requests.make(*operation)
        before = self.counts()
        status = self.send(world, request, watch)
        after = self.counts()
        return status, {
            name: after.get(name, 0) - before.get(name, 0)
            for name in before.keys() | after.keys()
            if after.get(name, 0) != before.get(name, 0)
        }

    def send(self, world: World, request: Request, watch: Watch) -> int:
        """Send the request; return the status, after checking that a failure is the right one."""
        world.platform.connections.forget_all()
        world.platform.revocations.forget()
        with watched(watch):
            response = request.send(world)
        if response.status_code >= 300:
            what = f"{request.method} {request.path}: {response.text}"
            assert response.status_code == 503, what
            refusal(response, 503, "database_unavailable")
            assert int(response.headers["Retry-After"]) > 0, what
        return response.status_code

    def counts(self) -> Counts:
        """How many documents each collection has, and how many databases there are."""
        own = self.world.db_of(self.requests.tenant_id)
        return {
            **{f"admin.{name}": count for name, count in _count(self.world.admin_db).items()},
            **{f"tenant.{name}": count for name, count in _count(own).items()},
            "databases": len(self.world.databases()),
        }


def _count(db: MongoDatabase) -> Counts:
    """How many documents each collection has, by one command."""
    first, *others = sorted(set(db.list_collection_names()) - BY_THE_WAY)
    count: dict[str, Any] = {"$collStats": {"count": {}}}
    unite = [{"$unionWith": {"coll": name, "pipeline": [count]}} for name in others]
    return {
        one["ns"].partition(".")[2]: one["count"] for one in db[first].aggregate([count, *unite])
    }


@pytest.fixture(scope="module")
def stage(
    mongod: EmbeddedServer, mongo: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """For all tests here; MongoDB keeps open transactions for as long as it really does."""
    with (
        pytest.MonkeyPatch.context() as patch,
        own_environment(mongod, mongo, tmp_path_factory.mktemp("misbehaving")) as environment,
        leakless_worlds(environment) as make,
    ):
        # After a failure PyMongo waits for half a second before it looks at the server again.
        patch.setattr(common, "MIN_HEARTBEAT_INTERVAL", 0.01)
        patch.setattr(clients, "ADMIN_MONITORING", "poll")
        environment |= {"ACCESS_TOKEN_SECONDS": "86400"}
        world, hasty = make(), make(operation_timeout_ms=HASTY_MS)
        before = _set_lifetime(mongo, TRANSACTION_SECONDS)
        try:
            yield Stage(world, hasty, mongo)
        finally:
            _set_lifetime(mongo, before)
            drop_leftovers(world)


def _set_lifetime(mongo: Client, seconds: int) -> int:
    changed = mongo.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)
    return int(changed["was"])


def attempts(
    stage: Stage, fits: Callable[[Step], bool], *, turn: int, one_in: int
) -> Iterator[tuple[Operation, int]]:
    """Go through operations, and the commands at which they are to meet a fault that fits there: in
    the suite one in so many operations, which and where depends on the turn; with `make faults` all
    commands of all operations, the first of each first, for as long as there is time."""
    commands = {
        operation: [at for at, step in enumerate(stage.undisturbed(operation)[2]) if fits(step)]
        for operation in operations()
    }
    if LONG:
        deadline = time.monotonic() + seconds(0)
        every = [(nth, one, at) for one in commands for nth, at in enumerate(commands[one])]
        for _, operation, at in sorted(every):
            if time.monotonic() < deadline:
                yield operation, at
        return
    for number, (operation, fitting) in enumerate(commands.items(), turn):
        if fitting and number % one_in == 0:
            yield operation, fitting[number // one_in % len(fitting)]


@pytest.mark.parametrize("fault", ONCE, ids=str)
def test_what_goes_wrong_once_is_not_seen(stage: Stage, fault: Fault) -> None:
    """Neither in the answer, nor in what was done, which was done exactly once."""
    tried = 0
    for operation, at in attempts(stage, fault.fits, turn=ONCE.index(fault), one_in=2):
        status, changed, steps = stage.undisturbed(operation)
        watch = Watch(at, lambda step: fault.begin(stage.mongo, step))
        try:
            seen = stage.play(stage.world, operation, watch)
        finally:
            happened = end_faults(stage.mongo)
        what = f"{fault} at command {at} of {operation}, {steps[at]}"
        assert happened or (fault.by_command and len(watch.steps) > at), f"{what}: not reached"
        assert seen == (status, changed), what
        tried += 1
    assert tried


@pytest.mark.parametrize("fault", ALWAYS)
def test_what_goes_wrong_for_good_is_refused_and_over_when_it_is_over(
    stage: Stage, fault: str
) -> None:
    """Nothing is changed meanwhile, and afterwards the very same requests work."""
    needing = [operation for operation in operations() if stage.undisturbed(operation)[2]]
    assert len(operations()) - len(needing) <= 1, "all but /healthz need the database"
    prepared = {one: stage.requests.make(*one, apart=True) for one in needing}
    before = stage.counts()

    fail(stage.mongo, "alwaysOn", *EVERY_COMMAND, **ALWAYS[fault])
    try:
        with ThreadPoolExecutor(16) as pool:
            refused = list(
                pool.map(lambda one: stage.send(stage.hasty, one, Watch()), prepared.values())
            )
    finally:
        happened = end_faults(stage.mongo)
    assert happened >= len(needing)
    assert dict(zip(needing, refused, strict=True)) == dict.fromkeys(needing, 503)
    assert stage.counts() == before

    for operation, request in prepared.items():
        status = stage.undisturbed(operation)[0]
        assert stage.send(stage.world, request, Watch()) == status, operation


def test_a_transaction_that_took_too_long_leaves_nothing_locked(stage: Stage) -> None:
    """It is done or not, and the next one need not wait until MongoDB has given it up."""
    tried = 0
    slow = {"blockConnection": True, "blockTimeMS": 2 * HASTY_MS}
    for operation, at in attempts(stage, lambda step: step.in_transaction, turn=0, one_in=3):
        status, changed, steps = stage.undisturbed(operation)
        watch = Watch(at, lambda step: fail_at(stage.mongo, step, **slow))
        try:
            refused = stage.play(stage.hasty, operation, watch)
        finally:
            happened = end_faults(stage.mongo)
        if not happened:
            continue  # everything was slow, even before
        what = f"command {at} of {operation}, {steps[at]}"
        assert refused[0] == 503, what
        assert refused[1] in ({}, changed, *LEFT_FOR_GC), what
        assert stage.play(stage.world, operation, Watch()) == (status, changed), what
        tried += 1
    assert tried


def test_write_conflicts_in_the_storage_engine_are_not_seen(stage: Stage) -> None:
    mode = {"activationProbability": 0.005}
    stage.mongo.admin.command("configureFailPoint", "WTWriteConflictException", mode=mode)
    try:
        for operation in operations():
            status, changed, _ = stage.undisturbed(operation)
            assert stage.play(stage.world, operation, Watch()) == (status, changed), operation
    finally:
        ended = stage.mongo.admin.command(
            "configureFailPoint", "WTWriteConflictException", mode="off"
        )
    assert ended["count"]


@pytest.mark.parametrize("operation", [("POST", "/api/tenants"), ("POST", "/api/to-do-list")])
def test_what_no_majority_has_confirmed_is_refused(stage: Stage, operation: Operation) -> None:
    """It may be done, but once at most."""
    unconfirmed = {"code": 91, "errmsg": "the primary is shutting down"}
    writes = ("insert", "update", "createIndexes")
    fail(stage.mongo, "alwaysOn", *writes, writeConcernError=unconfirmed)
    try:
        status, changed = stage.play(stage.hasty, operation, Watch())
    finally:
        end_faults(stage.mongo)
    assert status == 503
    assert changed in ({}, stage.undisturbed(operation)[1], *LEFT_FOR_GC)
    assert stage.play(stage.world, operation, Watch()) == stage.undisturbed(operation)[:2]


def test_no_uri_weakens_what_is_promised(make_world: MakeWorld, mongod: EmbeddedServer) -> None:
    """Reads ask the primary, writes wait for a majority, transactions work, whatever it says."""
    options = "&w=1&journal=false&wTimeoutMS=1&readConcernLevel=available"
    weak = mongod.uri + options + "&readPreference=secondaryPreferred&retryWrites=false"
    world = make_world(admin_db_uri=weak)
    owner = world.tenant("Acme")
    world.recorder.commands.clear()
    assert owner.post("/api/to-do-list", {"title": "Buy milk"}).status_code == 201
    assert owner.get("/api/to-do-list").status_code == 200
    item = {"name": "Anvil", "quantity": 1, "price": "1.50"}
    assert owner.post("/api/orders", {"items": [item]}).status_code == 201

    sent = {name: command for _, name, command in world.recorder.commands}
    todo = next(it for _, _, it in world.recorder.commands if it.get("insert") == "todos")
    for write in (todo, sent["commitTransaction"]):
        assert write["writeConcern"] == {"w": "majority"}
        assert "txnNumber" in write
    assert "readConcern" not in sent["find"]
    assert sent["find"].get("$readPreference", {"mode": "primary"}) == {"mode": "primary"}


@pytest.mark.parametrize("code", [262, 134], ids=["time", "majority"])
def test_a_server_that_lacks_something_for_a_while_is_unavailable(stage: Stage, code: int) -> None:
    """Reads carry no label that says so."""
    request = stage.requests.make("GET", "/api/to-do-list")
    fail(stage.mongo, "alwaysOn", "find", errorCode=code)
    try:
        status = stage.send(stage.hasty, request, Watch())
    finally:
        end_faults(stage.mongo)
    assert status == 503


def test_a_connection_made_in_the_middle_of_an_election_spoils_nothing(stage: Stage) -> None:
    """PyMongo holds for good what the server said of itself in that moment: that it was neither a
    primary nor a secondary, and so has no sessions."""
    in_transactions = [
        operation
        for operation in operations()
        if any(step.in_transaction for step in stage.undisturbed(operation)[2])
    ]
    for operation in in_transactions[:: 1 if LONG else 4]:
        status, changed, _ = stage.undisturbed(operation)
        request = stage.requests.make(*operation)
        pools = pools_of(stage.world.platform.connections.admin_client)
        connections = [connection for pool in pools for connection in pool.conns]
        for connection in connections:
            connection.supports_sessions = False
        assert stage.send(stage.world, request, Watch()) == status, operation
        assert not {*connections} & {one for pool in pools for one in pool.conns}
        assert stage.play(stage.world, operation, Watch()) == (status, changed)
