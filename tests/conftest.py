"""Fixtures: one real mongod for the session, and a second one (somebody else's, or a cluster of the
platform's) where it is asked for; fresh databases for every test."""

import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from unittest.mock import patch

import pytest
from pydantic import SecretStr
from pymongo import MongoClient
from werkzeug.routing import Rule

from multitenant import create_app
from multitenant.config import Settings, load_settings
from multitenant.embedded import EmbeddedServer
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.isolation import IsolationListener, clear_scope
from multitenant.tenancy.lifecycle.initialisation import initialise
from multitenant.tenancy.operations import cluster_report
from multitenant.tenancy.routing.placement import Placement
from tests.first_start import FirstStart, fresh_name
from tests.secrets_watch import WATCH, watching
from tests.support import (
    CREDENTIAL_KEY,
    JWT_KEY,
    OPERATOR_EMAIL,
    OPERATOR_PASSWORD,
    PATIENCE_SECONDS,
    CommandRecorder,
    World,
)

Client = MongoClient[dict[str, Any]]
PYMONGO_THREADS = "pymongo_"
MEMORY_NEEDED = 6 * 2**30
TRANSACTION_SECONDS = "30"
"""MongoDB gives a transaction up after this time, also one that a busy machine is slow with."""
MAX_FILES = 8_000
"""Each tenant has some 40 files, which mongod keeps open, and it cannot have any number open: with
more than these it makes room for a fresh one when a module begins."""


class MakeWorld(Protocol):
    """Builds an application on databases of its own; keywords are settings."""

    def __call__(self, *, placement: Placement | None = None, **settings: Any) -> World: ...


@contextmanager
def data_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a mongod of the tests keeps its data: in memory where there is room, since making a
    tenant's files takes three times as long on a disk. Nothing of it is needed afterwards."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < MEMORY_NEEDED:
        yield tmp_path_factory.mktemp("mongod")
        return
    with tempfile.TemporaryDirectory(
        prefix=f"{tmp_path_factory.getbasetemp().parent.name}-", dir=memory
    ) as directory:
        yield Path(directory)


class Servers:
    """One real mongod at a time, with authentication, transactions, change streams, failpoints."""

    def __init__(self, tmp_path_factory: pytest.TempPathFactory) -> None:
        self._tmp_path_factory = tmp_path_factory
        self._opened = ExitStack()
        self._server: EmbeddedServer | None = None

    def current(self) -> EmbeddedServer:
        """The server; a fresh one, where the last has too many files."""
        if self._server:
            files = sum(1 for _ in (self._server.directory / "data").iterdir())
            if files > MAX_FILES:
                self.close()
        if self._server is None:
            parameters = {
                "enableTestCommands": "1",
                # A killed process leaves its transaction, and its locks, open for this long.
                "transactionLifetimeLimitSeconds": TRANSACTION_SECONDS,
            }
            directory = self._opened.enter_context(data_directory(self._tmp_path_factory))
            server = EmbeddedServer(directory, parameters=parameters)
            self._server = self._opened.enter_context(server)
        return self._server

    def close(self) -> None:
        """Stop the server and remove its data."""
        self._server = None
        self._opened.close()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The server of the session, which a fresh one may replace between modules."""
    servers = Servers(tmp_path_factory)
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def mongod(servers: Servers) -> EmbeddedServer:
    """A real mongod."""
    return servers.current()


@pytest.fixture(scope="module")
def mongo(mongod: EmbeddedServer) -> Iterator[Client]:
    """A client with all rights, for looking at what the application has done."""
    with Client(mongod.uri, tz_aware=True, serverMonitoringMode="poll") as client:
        yield client


class FirstStarts:
    """Databases of platforms right after their first start, which one test after the other uses."""

    def __init__(self) -> None:
        self._server: int | None = None
        self._free: FirstStart | None = None

    @contextmanager
    def borrow(self, mongod: EmbeddedServer, mongo: Client) -> Iterator[FirstStart]:
        """Those of an earlier test, as they were before it; others, where there are none."""
        free, self._free = self._free, None
        if free is None or self._server != mongod.pid or not free.restore(mongo):
            variables = variables_of(mongod.uri, fresh_name(), Path("unused"))
            free = FirstStart(mongo, load_settings(variables, env_file=None))
        yield free
        self._server, self._free = mongod.pid, free


@pytest.fixture(scope="session")
def first_starts() -> FirstStarts:
    """The databases that wait for the next test."""
    return FirstStarts()


def variables_of(uri: str, name: str, directory: Path) -> dict[str, str]:
    """The environment variables of an application on the databases of that name."""
    return {
        "MULTITENANT_ENV": "development",
        "ADMIN_DB_URI": uri,
        "ADMIN_DB_NAME": f"{name}_admin",
        "TENANT_DB_PREFIX": f"{name}_tenant_",
        "INSTANCE_PATH": str(directory / "instance"),
        "JWT_SECRET_KEYS": JWT_KEY,
        "CREDENTIAL_KEYS": CREDENTIAL_KEY,
        "BCRYPT_ROUNDS": "4",
        "LOGIN_RATE_LIMIT": "100000 per minute",
        "BASE_DOMAIN": "localhost",
        "OPERATOR_EMAIL": OPERATOR_EMAIL,
        "OPERATOR_PASSWORD": OPERATOR_PASSWORD,
        "WORKER_CLASS": "gthread",
        "THREADS": "128",
        "TENANT_MAX_CONCURRENCY": "128",
        "PROVISIONING_POOL_SIZE": "0",
        "LOG_LEVEL": "WARNING",
    }


def check_databases(mongo: Client, variables: dict[str, str]) -> None:
    """Fail where a tenant has no database, or a database no tenant. They are not dropped: that
    takes mongod 0.1 s each, and they go with the server."""
    admin_db = mongo[variables["ADMIN_DB_NAME"]]
    prefix = variables["TENANT_DB_PREFIX"]
    WATCH.saw_database(admin_db)
    here = {"cluster": "default"}
    known = {tenant["dbName"] for tenant in admin_db["tenants"].find(here)}
    noted = [{"preparedVersion": {"$exists": True}}, {"kept": True}]
    known |= {note["dbName"] for note in admin_db["provisionings"].find({"$or": noted, **here})}
    names = mongo.list_database_names()
    left = {name for name in names if name.startswith(prefix)} - known
    assert not left, "a database without a tenant was left"
    assert known <= set(names), "a tenant has lost its database"


@contextmanager
def own_environment(
    mongod: EmbeddedServer, mongo: Client, directory: Path
) -> Iterator[dict[str, str]]:
    """The environment variables of an application on databases that nobody has used yet."""
    variables = variables_of(mongod.uri, fresh_name(), directory)
    yield variables
    check_databases(mongo, variables)


@pytest.fixture
def unused_environment(
    mongod: EmbeddedServer, mongo: Client, tmp_path: Path
) -> Iterator[dict[str, str]]:
    """The environment variables of an application that has never been started."""
    with own_environment(mongod, mongo, tmp_path) as variables:
        yield variables


@pytest.fixture
def environment(
    mongod: EmbeddedServer,
    mongo: Client,
    first_starts: FirstStarts,
    tmp_path: Path,
) -> Iterator[dict[str, str]]:
    """The environment variables of an application that has been started before: there is the
    operators' tenant, and no other."""
    with first_starts.borrow(mongod, mongo) as start:
        variables = variables_of(mongod.uri, fresh_name(), tmp_path)
        variables["ADMIN_DB_NAME"] = start.admin_db_name
        yield variables
        check_databases(mongo, variables)


@pytest.fixture
def settings(environment: dict[str, str]) -> Settings:
    """The same, as settings."""
    return load_settings(environment, env_file=None)


@contextmanager
def leakless_worlds(environment: dict[str, str]) -> Iterator[MakeWorld]:
    """Make applications that must end without a leak: leases, clients, foreign commands."""
    worlds: list[World] = []

    def make(*, placement: Placement | None = None, **changes: Any) -> World:
        changed = environment | {name.upper(): str(value) for name, value in changes.items()}
        settings = load_settings(changed, env_file=None)
        isolation, recorder = IsolationListener(), CommandRecorder()
        app = create_app(settings, placement=placement, listeners=[isolation, recorder])
        world = World(app, isolation, recorder)
        worlds.append(world)
        initialise(
            world.platform.connections,
            world.platform.provisioner,
            email=OPERATOR_EMAIL,
            password=SecretStr(OPERATOR_PASSWORD),
            made_up_password=lambda: pytest.fail("the password was given"),
        )
        recorder.commands.clear()
        return world

    yield make
    left = []
    for world in worlds:
        connections = world.platform.connections
        leases = connections.stats()["leases"]
        world.platform.close(timeout=0)
        left.append((leases, connections.stats()["clients"], list(world.isolation.violations)))
    assert left == [(0, 0, [])] * len(worlds), "leases, clients, or commands outside their tenant"


@pytest.fixture(scope="module")
def shared(
    mongod: EmbeddedServer, mongo: Client, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One application for a module, for tests that must change nothing, or do not mind."""
    directory = tmp_path_factory.mktemp("shared")
    with (
        own_environment(mongod, mongo, directory) as environment,
        leakless_worlds(environment) as make,
    ):
        world = make()
        world.platform.watcher.ensure_running()
        yield world


@pytest.fixture
def make_world(environment: dict[str, str]) -> Iterator[MakeWorld]:
    """The same, for one test."""
    with leakless_worlds(environment) as make:
        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """An application as it comes."""
    return make_world()


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """Somebody else's MongoDB."""
    parameters = {
        "enableTestCommands": "1",
        "transactionLifetimeLimitSeconds": TRANSACTION_SECONDS,
    }
    with (
        data_directory(tmp_path_factory) as directory,
        EmbeddedServer(directory, parameters=parameters) as server,
    ):
        yield server


@pytest.fixture(scope="session")
def theirs(elsewhere: EmbeddedServer) -> Iterator[Client]:
    """A client with all rights there."""
    with Client(elsewhere.uri, tz_aware=True, serverMonitoringMode="poll") as client:
        yield client


@pytest.fixture
def blue(world: World, elsewhere: EmbeddedServer, theirs: Client) -> Iterator[Client]:
    """The second deployment as the platform's cluster `blue`; a client with all rights there. The
    databases that are there at the end must be tenants', or wait for one."""
    world.platform.clusters.add("blue", elsewhere.uri, {}, Actor.on_command_line())
    yield theirs
    there = {"cluster": "blue"}
    known = {tenant["dbName"] for tenant in world.admin_db["tenants"].find(there)}
    noted = [{"preparedVersion": {"$exists": True}}, {"kept": True}]
    waiting = world.admin_db["provisionings"].find({"$or": noted, **there})
    known |= {note["dbName"] for note in waiting}
    prefix = world.platform.settings.tenant_db_prefix
    made = {name for name in theirs.list_database_names() if name.startswith(prefix)}
    assert made == known, "a database without a tenant, or a tenant without a database, was left"
    for name in made:
        theirs.drop_database(name)


@pytest.fixture
def their_uri(theirs: Client, elsewhere: EmbeddedServer) -> Iterator[str]:
    """The URI of a user who may read and write one empty database, `acme`, and nothing else."""
    roles = [{"role": "readWrite", "db": "acme"}]
    theirs["acme"].command("createUser", "theirs", pwd="their-password", roles=roles)
    yield f"mongodb://theirs:their-password@127.0.0.1:{elsewhere._port}/acme?authSource=acme"
    theirs["acme"].command("dropUser", "theirs")
    theirs.drop_database("acme")


@pytest.fixture(scope="session", autouse=True)
def _routes_are_compiled_once() -> Iterator[None]:
    """Werkzeug compiles two functions for each route of each application that is made: the same
    ones for every test, and more work than all else that making an application takes."""
    compile_builder = Rule._compile_builder
    compiled: dict[tuple[str, str, bool], Any] = {}

    def compile_once(self: Rule, append_unknown: bool = True) -> Any:
        key = (self.rule, str(self.defaults), append_unknown)
        if key not in compiled:
            compiled[key] = compile_builder(self, append_unknown)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Rule, "_compile_builder", compile_once)
        yield


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    """Fail a test that leaves a thread behind; PyMongo's own are counted at the end."""
    before = set(threading.enumerate())
    yield
    clear_scope()
    left = {
        thread
        for thread in set(threading.enumerate()) - before
        if not thread.name.startswith(PYMONGO_THREADS)
    }
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left & set(threading.enumerate()):  # one may be just ending, or just starting
        assert time.monotonic() < deadline, f"the test left threads behind: {left}"
        time.sleep(0.005)


@pytest.fixture(scope="session", autouse=True)
def _secrets_are_watched() -> Iterator[None]:
    """Look for secrets in all that this session gets to see."""
    with watching():
        yield
    assert WATCH.take() == [], "secrets came to light after the last test"


@pytest.fixture(scope="session", autouse=True)
def _no_cluster_is_measured_by_the_way() -> Iterator[None]:
    """An application that lives for some minutes would begin to, in a thread that outlives the
    test which happens to run then."""
    with patch.object(cluster_report, "LOOK_SECONDS", timedelta(days=1).total_seconds()):
        yield


@pytest.fixture(autouse=True)
def _no_secret_comes_to_light() -> Iterator[None]:
    """Fail a test in which a secret was logged, answered, printed, or put into the admin database,
    where it does not belong."""
    yield
    assert WATCH.take() == [], "secrets came to light"


@pytest.fixture(scope="session", autouse=True)
def _no_process_is_left(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail the session when a mongod or a server that it started still runs at its end."""
    yield
    ours = str(tmp_path_factory.getbasetemp())
    commands = subprocess.run(["ps", "-wweo", "args"], capture_output=True, text=True, check=True)
    left = [command for command in commands.stdout.splitlines() if ours in command]
    assert not left, "processes were left running"


@pytest.fixture(scope="session", autouse=True)
def _no_client_is_left() -> Iterator[None]:
    """Fail the session when a MongoClient is still open at its end. The threads of a closed one
    need up to a second to see it."""
    yield
    deadline = time.monotonic() + PATIENCE_SECONDS
    while left := [t for t in threading.enumerate() if t.name.startswith(PYMONGO_THREADS)]:
        assert time.monotonic() < deadline, f"a client was left open: {left}"
        time.sleep(0.05)


@pytest.fixture
def run_together() -> Callable[[list[Callable[[], Any]]], list[Any]]:
    """Run functions in threads that start at the same moment; return their results in order."""

    def run(functions: list[Callable[[], Any]]) -> list[Any]:
        results: list[Any] = [None] * len(functions)
        start = threading.Barrier(len(functions))

        def call(index: int) -> None:
            start.wait()
            try:
                results[index] = functions[index]()
            except BaseException as error:  # noqa: BLE001  # the test looks at it
                results[index] = error

        threads = [threading.Thread(target=call, args=(i,)) for i in range(len(functions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    return run
