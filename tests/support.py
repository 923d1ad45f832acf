"""What tests speak: a platform with a client, tenants, and users who are logged in."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from bson import ObjectId
from flask.testing import FlaskClient
from flask_openapi3 import OpenAPI
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)
from werkzeug.test import TestResponse

from multitenant.extensions import Platform, platform_of
from multitenant.repositories.admin.heartbeats import COLLECTION as HEARTBEATS
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.deployments.isolation import IsolationListener
from multitenant.tenancy.lifecycle.garbage import GarbageCollector

OPERATOR_EMAIL = "operator@example.com"
OPERATOR_PASSWORD = "operator's own password"
JWT_KEY = "a-key-for-tests-only-" + "0123456789abcdef" * 4
CREDENTIAL_KEY = "another-key-for-tests-" + "fedcba9876543210" * 4
PASSWORD = "correct horse battery"

# The document and the page that shows it: routes that are none of the API's.
PAGES = {
    ("GET", "/openapi.json"),
    ("GET", "/docs"),
    ("GET", "/docs/"),
    ("GET", "/docs/start.js"),
    ("GET", "/docs/swagger-ui.css"),
    ("GET", "/docs/swagger-ui-bundle.js"),
}


class CommandRecorder(CommandListener):
    """Remembers every command as (database, command name, the command itself), but for the
    heartbeats of the platform."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, str, Mapping[str, Any]]] = []
        self.on_start: Callable[[CommandStartedEvent], None] = lambda _: None
        self.on_end: Callable[[CommandSucceededEvent | CommandFailedEvent], None] = lambda _: None

    def started(self, event: CommandStartedEvent) -> None:
        name = event.command_name
        if name != "find" and event.command.get(name) == HEARTBEATS:
            return  # written by a thread in the background, all the time
        self.commands.append((event.database_name, event.command_name, event.command))
        self.on_start(event)

    def succeeded(self, event: CommandSucceededEvent) -> None:
        self.on_end(event)

    def failed(self, event: CommandFailedEvent) -> None:
        self.on_end(event)

    def count(self, command: str, collection: str) -> int:
        return sum(
            name == command and cmd.get(name) == collection for _, name, cmd in self.commands
        )


@dataclass(frozen=True)
class User:
    """A logged-in user, who sends requests."""

    client: FlaskClient
    tenant_id: str
    user_id: str
    access: str
    refresh: str

    def send(self, method: str, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        headers = {"Authorization": f"Bearer {self.access}", **kwargs.pop("headers", {})}
        return self.client.open(path, method=method, json=json, headers=headers, **kwargs)

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.send("GET", path, **kwargs)

    def post(self, path: str, json: Any = None, **kwargs: Any) -> TestResponse:
        return self.send("POST", path, json, **kwargs)

    def patch(self, path: str, json: Any, **kwargs: Any) -> TestResponse:
        return self.send("PATCH", path, json, **kwargs)

    def put(self, path: str, json: Any, **kwargs: Any) -> TestResponse:
        return self.send("PUT", path, json, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> TestResponse:
        return self.send("DELETE", path, **kwargs)


@dataclass
class World:
    """One application on its own databases, and shortcuts to what happens in it."""

    app: OpenAPI
    isolation: IsolationListener
    recorder: CommandRecorder
    _operator: User | None = field(default=None)
    owner: User | None = field(default=None)
    """Somebody who was logged in, for the next request."""

    @property
    def platform(self) -> Platform:
        return platform_of(self.app)

    @property
    def admin_db(self) -> MongoDatabase:
        return self.platform.connections.admin_db

    def garbage_collector(self, *, days: int = 30) -> GarbageCollector:
        """What `multitenant tenants gc` works with; `days` is PURGE_AFTER_DAYS."""
        platform = self.platform
        return GarbageCollector(
            platform.connections,
            platform.credentials,
            platform.lifecycle,
            platform.cipher,
            purge_after=timedelta(days=days),
            keep_prepared=platform.settings.provisioning_pool_size,
        )

    @property
    def client(self) -> FlaskClient:
        from tests.contract import CheckedClient  # it needs this module

        return CheckedClient(self.app, use_cookies=False)

    @property
    def operator(self) -> User:
        if self._operator is None:
            self._operator = self.login(OPERATOR_EMAIL, OPERATOR_PASSWORD)
        return self._operator

    def login(self, email: str, password: str = PASSWORD, **fields: Any) -> User:
        body = {"email": email, "password": password, **fields}
        response = self.client.post("/api/login", json=body)
        assert response.status_code == 200, response.text
        session = answer(response)
        return User(
            self.client,
            session["tenantId"],
            session["userId"],
            session["accessToken"],
            session["refreshToken"],
        )

    def add(self, **fields: Any) -> TestResponse:
        return self.operator.post("/api/add", fields)

    def tenant(self, name: str, **fields: Any) -> User:
        """Add a tenant and return its owner, logged in."""
        email = fields.pop("email", f"owner@{name.lower()}.example")
        response = self.add(name=name, email=email, password=PASSWORD, **fields)
        assert response.status_code == 201, response.text
        return self.login(email, tenant=answer(response)["tenantId"])

    def colleague(self, owner: User, role: str) -> User:
        """Put a user of that role into the owner's tenant and return them, logged in."""
        email = f"{role}{ObjectId()}@example.com"
        added = owner.post("/api/users", {"email": email, "password": PASSWORD, "role": role})
        assert added.status_code == 201, added.text
        return self.login(email)

    def record(self, tenant_id: str) -> dict[str, Any]:
        found = self.admin_db["tenants"].find_one({"_id": ObjectId(tenant_id)})
        assert found is not None
        return found

    def set_status(self, tenant_id: str, status: str) -> None:
        """Change a tenant's status as another process would."""
        self.admin_db["tenants"].update_one(
            {"_id": ObjectId(tenant_id)}, {"$set": {"status": status}}
        )
        self.platform.connections.forget(ObjectId(tenant_id))

    def db_of(self, tenant_id: str) -> MongoDatabase:
        """The tenant's database, on the cluster `default`."""
        return self.admin_db.client[self.record(tenant_id)["dbName"]]

    def databases(self) -> set[str]:
        """The names of all databases that this world has made."""
        settings = self.platform.settings
        return {
            name
            for name in self.admin_db.client.list_database_names()
            if name == settings.admin_db_name or name.startswith(settings.tenant_db_prefix)
        }


def answer(response: TestResponse) -> Any:
    """The responseObject, after checking the envelope around it."""
    body = response.get_json()
    assert set(body) == {"success", "statusCode", "message", "responseObject"}
    assert body["statusCode"] == response.status_code
    assert body["success"] == (response.status_code < 400)
    assert body["message"]
    return body["responseObject"]


def refusal(response: TestResponse, status: int, code: str) -> Any:
    """The responseObject of an error, after checking its status and code."""
    details = answer(response)
    assert (response.status_code, details["code"]) == (status, code), response.text
    assert details["requestId"] == response.headers["X-Request-ID"]
    return details


PATIENCE_SECONDS = 60
"""How long a test waits for what must happen: a busy machine is slow, and no test is about that."""


def eventually(true: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until it is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never became true"
        time.sleep(0.01)


@contextmanager
def stopped_at(world: World, pid: int, command: str) -> Iterator[None]:
    """Stop the mongod of that process when the application sends such a command within the block,
    for which it must; it goes on afterwards, and does what it was sent."""
    stopped = threading.Event()

    def stop(event: CommandStartedEvent) -> None:
        if event.command_name == command and not stopped.is_set():
            stopped.set()
            os.kill(pid, signal.SIGSTOP)

    world.recorder.on_start = stop
    try:
        yield
    finally:
        world.recorder.on_start = lambda _: None
        os.kill(pid, signal.SIGCONT)
    assert stopped.is_set()


def until_available(send: Callable[[], TestResponse]) -> TestResponse:
    """Send it again until the database answers, as clients do, and return that answer."""
    response, deadline = send(), time.monotonic() + PATIENCE_SECONDS
    while response.status_code == 503:
        assert time.monotonic() < deadline, "it never became available"
        response = send()
    return response


def in_thread(function: Callable[[], Any]) -> Any:
    """Run the function in a thread of its own, as another request would, and return its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def is_running(pid: int) -> bool:
    """Whether the process runs; one that ended and that nobody has asked about does not."""
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return status.stdout.strip()[:1] not in ("", "Z")
