"""Which client leads to a tenant's database, and with whose credentials."""

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, ConfigurationError, OperationFailure

from multitenant.errors import DatabaseUnavailable
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


OnOutcome = Callable[[bool], None]


class Database:
    def __init__(self, name: str, opened: "Opened") -> None:
        self.name = name
        self.opened = opened
        self.commands: list[str] = []

    def command(self, name: str) -> None:
        """Do as SteadyClient: say whether a server has answered."""
        assert not self.opened.settled, "its servers are not known before they were asked"
        self.commands.append(name)
        fails = self.opened.fails
        if self.opened.on_outcome and isinstance(fails, AutoReconnect | OperationFailure | None):
            self.opened.on_outcome(not isinstance(fails, AutoReconnect))
        if fails:
            raise fails


class Opened:
    """A client without a server, an OpenedClient or a Hold."""

    def __init__(self, fails: Exception | None = None, on_outcome: OnOutcome | None = None) -> None:
        self.fails = fails
        self.on_outcome = on_outcome
        self.line: Any = object()
        self.closed = 0
        self.settled = 0

    @property
    def client(self) -> Any:
        return self

    def __getitem__(self, name: str) -> Database:
        return Database(name, self)

    def settle(self) -> None:
        self.settled += 1

    def close(self) -> None:
        self.closed += 1


class Deployments:
    """Clusters, and what was opened there."""

    def __init__(self) -> None:
        self.opened: list[tuple[Any, ...]] = []
        self.fails: Exception | None = None
        """What the servers answer."""
        self.cannot_open: Exception | None = None
        self.refused: list[ObjectId] = []
        self.on_refused: Callable[[], object] | None = None
        self.clients: list[Opened] = []
        self.concurrency = ClusterConcurrency(5, lambda _: False)
        anything: Any = self
        self.placement = TenantPlacement(
            anything, anything, CIPHER, self.concurrency, on_refused=self.refused.append
        )

    def _open(self, *what: Any, on_outcome: OnOutcome | None = None) -> Any:
        if self.cannot_open:
            raise self.cannot_open
        self.opened.append(what)
        self.clients.append(Opened(self.fails, on_outcome))
        return self.clients[-1]

    def hold(self, cluster: str) -> Any:
        return self._open("hold", cluster)

    def open_dedicated(self, uri: str, *, on_outcome: OnOutcome | None, **credentials: str) -> Any:
        return self._open("own", uri, credentials, on_outcome=on_outcome)

    def open_foreign(
        self,
        uri: str,
        *,
        on_outcome: OnOutcome | None,
        on_refused: Callable[[], object],
        for_requests: bool,
    ) -> Any:
        assert for_requests
        self.on_refused = on_refused
        return self._open("foreign", uri, on_outcome=on_outcome)

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
    assert (own.closed, own.settled) == (0, 1)
    assert deployments.concurrency.counts() == {}


def test_a_tenant_on_a_server_of_its_own_is_reached_by_its_uri(deployments: Deployments) -> None:
    connection = deployments.placement.connect(EXTERNAL)
    assert deployments.opened == [("foreign", URI)]
    own: Any = deployments.clients[0]
    assert (connection.own, own.closed, own.settled) == (own, 0, 1)
    assert deployments.refused == []
    assert deployments.on_refused
    deployments.on_refused()
    assert deployments.refused == [ACME]


@pytest.mark.parametrize(
    ("fails", "raised", "troubled"),
    [
        (OperationFailure("no", 18), CredentialsRefused, False),
        (OperationFailure("no", 11), CredentialsRefused, False),
        (OperationFailure("no", 13), OperationFailure, False),
        (OperationFailure("malformed", 9), DatabaseUnavailable, False),
        (OperationFailure("refused", 20), DatabaseUnavailable, False),
        (OperationFailure("who knows", 99_999), DatabaseUnavailable, False),
        (AutoReconnect("gone"), AutoReconnect, True),
        (ZeroDivisionError(), ZeroDivisionError, False),
    ],
)
def test_a_client_that_does_not_work_is_closed(
    deployments: Deployments,
    caplog: pytest.LogCaptureFixture,
    fails: Exception,
    raised: type[Exception],
    troubled: bool,
) -> None:
    """Whatever it fails with, no data has been asked for that could have refused it."""
    deployments.fails = fails
    with pytest.raises(raised):
        deployments.placement.connect(DEDICATED)
    told = f"Tenant {ACME}: nobody can connect: OperationFailure"
    assert (told in caplog.text) is (raised is DatabaseUnavailable)
    assert deployments.clients[0].closed == 1
    assert deployments.concurrency.is_troubled("blue") is troubled
    assert deployments.concurrency.counts() == {}


@pytest.mark.parametrize(
    ("tenant", "place"),
    [(DEDICATED, "blue"), (EXTERNAL, f"external:{ACME}")],
    ids=["dedicated", "external"],
)
def test_a_client_reports_for_its_own_place(
    deployments: Deployments, tenant: Tenant, place: str
) -> None:
    deployments.placement.connect(tenant)
    (client,) = deployments.clients
    assert client.on_outcome
    assert not deployments.concurrency.is_troubled(place)
    client.on_outcome(False)
    places = ("blue", "green", "external", f"external:{ACME}", "default")
    assert [one for one in places if deployments.concurrency.is_troubled(one)] == [place]


def test_nobody_counts_how_the_cluster_of_the_admin_database_answers(
    deployments: Deployments,
) -> None:
    deployments.placement.connect(replace(DEDICATED, cluster="default"))
    assert [client.on_outcome for client in deployments.clients] == [None]


@pytest.mark.parametrize("tenant", [SHARED, DEDICATED, EXTERNAL])
@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ConfigurationError("their URI is odd"), DatabaseUnavailable),
        (ZeroDivisionError("their password"), DatabaseUnavailable),
        (AutoReconnect("gone"), AutoReconnect),
        (DatabaseUnavailable("no room"), DatabaseUnavailable),
    ],
)
def test_what_no_client_can_be_made_of_is_the_tenants_trouble(
    deployments: Deployments,
    caplog: pytest.LogCaptureFixture,
    tenant: Tenant,
    error: Exception,
    raised: type[Exception],
) -> None:
    deployments.cannot_open = error
    with pytest.raises(raised) as told:
        deployments.placement.connect(tenant)
    described = told.value is not error
    assert described is isinstance(error, ConfigurationError | ZeroDivisionError)
    assert (type(error).__name__ in caplog.text) is described
    assert (str(ACME) in caplog.text) is described
    assert str(error) not in caplog.text


@pytest.mark.parametrize("field", ["db_uri", "credentials"])
def test_what_cannot_be_decrypted_is_the_tenants_trouble(
    deployments: Deployments, caplog: pytest.LogCaptureFixture, field: str
) -> None:
    tenant = EXTERNAL if field == "db_uri" else DEDICATED
    lost: dict[str, Any] = {field: {**getattr(tenant, field), "keyId": "lost"}}
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        deployments.placement.connect(replace(tenant, **lost))
    assert str(ACME) in caplog.text
    assert deployments.opened == []


@pytest.mark.parametrize(("tenant", "sockets"), [(SHARED, 0), (DEDICATED, 700), (EXTERNAL, 300)])
def test_a_client_of_its_own_may_open_so_many_sockets(
    deployments: Deployments, tenant: Tenant, sockets: int
) -> None:
    assert deployments.placement.sockets(tenant) == sockets


def test_a_connection_without_a_client_to_close_has_no_line() -> None:
    nothing: Any = SimpleNamespace()
    assert Connection(nothing).line is None
