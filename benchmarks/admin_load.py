"""What each process asks of the admin database's primary, whether it serves anybody or not.

    python -m benchmarks.admin_load --help

Starts a MongoDB of its own and several platforms, as that many processes would, and counts the
commands of each: while nothing happens, while records change, without a change stream and right
after it, with clusters, and without a stream then. Prints the commands a second of the process that
sends most; for the time after an outage, all commands of its first seconds. Then it opens clients
to all clusters, and prints their threads and monitoring sockets.
"""

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bson import ObjectId
from pymongo import MongoClient
from pymongo.monitoring import CommandListener, CommandStartedEvent

from multitenant import create_app
from multitenant.config import Settings, load_settings
from multitenant.embedded import EmbeddedServer
from multitenant.extensions import Platform, platform_of
from multitenant.repositories.model import utc_now
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.lifecycle.initialisation import initialise, make_up_password

ADMIN_DB = "multitenant_admin"
AFTER_SECONDS = 5.0
"""For so long the commands after an outage are counted."""


class CommandCounter(CommandListener):
    """Counts the commands to the admin database, by name and collection."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def started(self, event: CommandStartedEvent) -> None:
        """Count it."""
        if event.database_name == ADMIN_DB:
            collection = event.command.get(event.command_name)
            of = f" {collection}" if isinstance(collection, str) else ""
            self.counts[event.command_name + of] += 1

    def succeeded(self, event: Any) -> None:
        """Nothing to count."""

    def failed(self, event: Any) -> None:
        """Nothing to count."""


class Process:
    """One platform, and what it asks."""

    def __init__(self, settings: Settings) -> None:
        self.counter = CommandCounter()
        self.platform: Platform = platform_of(create_app(settings, listeners=[self.counter]))
        self.platform.watcher.ensure_running()
        self.platform.connections.presence.ensure()

    def is_current(self) -> bool:
        """Whether it knows of all changes."""
        return self.platform.watcher.vouches_for(time.monotonic())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--changes", type=int, default=50, help="records changed in a second")
    parser.add_argument("--clusters", type=int, default=50)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        parameters = {"enableTestCommands": "1"}
        server = EmbeddedServer(Path(folder) / "mongodb", parameters=parameters)
        stack.enter_context(server)
        environment = {
            "MULTITENANT_ENV": "development",
            "ADMIN_DB_URI": server.uri,
            "INSTANCE_PATH": folder,
            "BCRYPT_ROUNDS": "4",
            "LOG_LEVEL": "CRITICAL",
            "PROVISIONING_POOL_SIZE": "0",
            "CONNECTION_BUDGET": "100000",
        }
        settings = load_settings(environment, env_file=None)
        initialise_admin_database(settings)
        processes = [Process(settings) for _ in range(options.processes)]
        for process in processes:
            stack.callback(process.platform.close, timeout=0)
        mongo: MongoClient[Any] = stack.enter_context(MongoClient(server.uri))
        wait_until(lambda: all(process.is_current() for process in processes))
        measure(processes, mongo, settings, options)


def measure(processes: list[Process], mongo: Any, settings: Settings, options: Any) -> None:
    """Go through all situations."""
    seconds = options.seconds
    report("idle", busiest(processes, seconds), seconds)
    with changes(mongo, options.changes) as current:
        counted = busiest(processes, seconds, lambda: current(processes))
    report(f"{options.changes} changes a second", counted, seconds)
    outage(processes, mongo, seconds)
    add_clusters(mongo, settings, options.clusters)
    before = threading.active_count()
    for process in processes:
        for number in range(options.clusters):
            with process.platform.connections.operator_client(f"c{number}") as client:
                client.admin.command("ping")
    connections = processes[0].platform.connections
    watched = sum(opened.monitoring for _, opened in connections.cluster_clients())
    threads = (threading.active_count() - before) / len(processes)
    print(f"\n{options.clusters} clusters of one member: {threads:.0f} threads, {watched} sockets")
    report(f"idle, {options.clusters} clusters", busiest(processes, seconds), seconds)
    outage(processes, mongo, seconds)


def outage(processes: list[Process], mongo: Any, seconds: float) -> None:
    """Cut all streams, and let them go on."""
    data = {"failCommands": ["aggregate", "getMore"], "appName": "multitenant", "errorCode": 13}
    mongo.admin.command("configureFailPoint", "failCommand", mode="alwaysOn", data=data)
    time.sleep(2)
    report("without a stream", busiest(processes, seconds), seconds)
    mongo.admin.command("configureFailPoint", "failCommand", mode="off")
    report(f"in the {AFTER_SECONDS:.0f} s after that", busiest(processes, AFTER_SECONDS), 1)
    wait_until(lambda: all(process.is_current() for process in processes))


def busiest(
    processes: list[Process], seconds: float, sample: Callable[[], None] = lambda: None
) -> Counter[str]:
    """Count for so long, and return what the process has sent that sent most."""
    for process in processes:
        process.counter.counts.clear()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        sample()
        time.sleep(0.01)
    return max((process.counter.counts.copy() for process in processes), key=Counter.total)


def report(what: str, counted: Counter[str], seconds: float) -> None:
    """Print one situation."""
    print(f"\n{what}: {counted.total() / seconds:.1f}")
    for name, count in counted.most_common():
        print(f"  {count / seconds:8.1f}  {name}")


@contextmanager
def changes(mongo: Any, a_second: int) -> Iterator[Callable[[list[Process]], None]]:
    """Withdraw tokens of so many users a second; yield what notes whether processes are current."""
    ending = threading.Event()
    samples: Counter[bool] = Counter()
    revocations = mongo[ADMIN_DB]["revocations"]

    def change() -> None:
        while not ending.wait(1 / a_second):
            revocations.insert_one({"_id": str(ObjectId()), "expiresAt": utc_now()})

    def sample(processes: list[Process]) -> None:
        samples.update(process.is_current() for process in processes)

    thread = threading.Thread(target=change)
    thread.start()
    yield sample
    ending.set()
    thread.join()
    print(f"\ncurrent in {100 * samples[True] / samples.total():.1f} % of the samples")


def add_clusters(mongo: Any, settings: Settings, count: int) -> None:
    """Write the records of so many clusters, all of which are this MongoDB."""
    cipher = FieldCipher([key.get_secret_value() for key in settings.credential_keys])
    uri = settings.admin_db_uri.get_secret_value()
    for number in range(count):
        name = f"c{number}"
        encrypted = cipher.encrypt(uri, record_id=name, field="uri")
        mongo[ADMIN_DB]["clusters"].insert_one({"_id": name, "state": "open", "uri": encrypted})


def initialise_admin_database(settings: Settings) -> None:
    """Make the collections and indexes of the admin database."""
    platform = platform_of(create_app(settings))
    initialise(
        platform.connections,
        platform.provisioner,
        email="operator@example.com",
        password=None,
        made_up_password=make_up_password,
    )
    platform.close(timeout=0)


def wait_until(happened: Callable[[], bool]) -> None:
    """Wait until it has, for a minute at most."""
    deadline = time.monotonic() + 60
    while not happened():
        if time.monotonic() > deadline:
            raise SystemExit("A process does not become current")
        time.sleep(0.01)


if __name__ == "__main__":
    main()
