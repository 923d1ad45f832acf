"""Which client leads to a tenant's database, and with whose credentials."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, OperationFailure

from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency
from multitenant.tenancy.routing.placement import Connection, CredentialsRefused, TenantPlacement
from multitenant.tenancy.routing.tenant import Tenant

CIPHER = FieldCipher(["a key " * 10])
ACME = ObjectId()
URI = "mongodb://theirs.example/acme"
USER = DatabaseUser("tenant-1", "their password")
SHARED = Tenant(ACME, "Acme", None, (), "tenant_acme", "blue", "shared", "active", False)
DEDICATED = replace(SHARED, isolation="dedicated", credentials=USER.encrypted(ACME, CIPHER))
EXTERNAL = replace(
    DEDICATED,
    cluster="external",
    credentials=None,
    db_uri=CIPHER.encrypt(URI, record_id=ACME, field="dbUri"),
)


class Database:
    def __init__(self, name: str, fails: Exception | None) -> None:
        self.name = name
        self.fails = fails
        self.commands: list[str] = []

    def command(self, name: str) -> None:
        self.commands.append(name)
        if self.fails:
            raise self.fails


class Opened:
    """A client without a server, an OpenedClient or a Hold."""

    def __init__(self, fails: Exception | None = None) -> None:
        self.fails = fails
        self.line: Any = object()
        self.closed = 0

    @property
    def client(self) -> Any:
        return self

    def __getitem__(self, name: str) -> Database:
        return Database(name, self.fails)

    def close(self) -> None:
        self.closed += 1


class Deployments:
    """Clusters, and what was opened there."""

    def __init__(self) -> None:
        self.opened: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None
        self.clients: list[Opened] = []
        self.concurrency = ClusterConcurrency(5, lambda _: False)
        anything: Any = self
        self.placement = TenantPlacement(anything, anything, CIPHER, self.concurrency)

    def _open(self, *what: Any) -> Any:
        self.opened.append(what)
        self.clients.append(Opened(self.fails))
        return self.clients[-1]

    def hold(self, cluster: str) -> Any:
        return self._open("hold", cluster)

    def open_dedicated(self, uri: str, **credentials: str) -> Any:
        return self._open("own", uri, credentials)

    def uri(self, cluster: str) -> str:
        return f"mongodb://{cluster}.example/"

    def servers(self, cluster: str) -> int:
        return {"blue": 7}[cluster]

    def dedicated_limit(self, servers: int) -> int:
        return 100 * servers


@pytest.fixture
def deployments() -> Deployments:
    return Deployments()


def test_a_shared_tenant_is_on_its_clusters_client(deployments: Deployments) -> None:
    connection = deployments.placement.connect(SHARED)
    assert deployments.opened == [("hold", "blue")]
    assert connection.database.name == "tenant_acme"
    hold: Any = deployments.clients[0]
    assert (connection.own, connection.hold) == (None, hold)
    assert connection.line is hold.line


def test_a_dedicated_tenant_logs_in_as_itself(deployments: Deployments) -> None:
    connection = deployments.placement.connect(DEDICATED)
    assert deployments.opened == [
        ("own", "mongodb://blue.example/", USER.login("tenant_acme")),
    ]
    database: Any = connection.database
    assert (database.name, database.commands) == ("tenant_acme", ["ping"])
    own: Any = deployments.clients[0]
    assert (connection.own, connection.hold) == (own, None)
    assert connection.line is own.line
    assert own.closed == 0
    assert deployments.concurrency.counts() == {}


def test_a_tenant_on_a_server_of_its_own_is_reached_by_its_uri(deployments: Deployments) -> None:
    deployments.placement.connect(EXTERNAL)
    assert deployments.opened == [("own", URI, {})]


@pytest.mark.parametrize(
    ("fails", "raised", "troubled"),
    [
        (OperationFailure("no", 18), CredentialsRefused, False),
        (OperationFailure("no", 11), CredentialsRefused, False),
        (OperationFailure("no", 13), OperationFailure, False),
        (AutoReconnect("gone"), AutoReconnect, True),
        (ZeroDivisionError(), ZeroDivisionError, False),
    ],
)
def test_a_client_that_does_not_work_is_closed(
    deployments: Deployments, fails: Exception, raised: type[Exception], troubled: bool
) -> None:
    deployments.fails = fails
    with pytest.raises(raised):
        deployments.placement.connect(DEDICATED)
    assert deployments.clients[0].closed == 1
    assert deployments.concurrency.is_troubled("blue") is troubled
    assert deployments.concurrency.counts() == {}


def test_connecting_is_counted_as_waiting_for_the_cluster(
    deployments: Deployments, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered: list[str] = []

    def enter(cluster: str) -> AbstractContextManager[None]:
        entered.append(cluster)
        return nullcontext()

    monkeypatch.setattr(deployments.concurrency, "entered", enter)
    deployments.placement.connect(SHARED)
    assert entered == []
    deployments.placement.connect(DEDICATED)
    assert entered == ["blue"]


@pytest.mark.parametrize(("tenant", "sockets"), [(SHARED, 0), (DEDICATED, 700), (EXTERNAL, 300)])
def test_a_client_of_its_own_may_open_so_many_sockets(
    deployments: Deployments, tenant: Tenant, sockets: int
) -> None:
    assert deployments.placement.sockets(tenant) == sockets


def test_a_connection_without_a_client_to_close_has_no_line() -> None:
    nothing: Any = SimpleNamespace()
    assert Connection(nothing).line is None
