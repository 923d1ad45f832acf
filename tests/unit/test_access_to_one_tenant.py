"""A person's way into one tenant's database: with which rights, what is noted, what is left."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect

from multitenant.errors import Conflict, DatabaseLost
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.deployments.isolation import _scope, clear_scope, set_scope
from multitenant.tenancy.routing import tenant_access as module
from multitenant.tenancy.routing.tenant_access import TenantAccess

CIPHER = FieldCipher(["a key " * 10])
ACME = ObjectId()
URI = "mongodb://theirs.example/acme"
USER = DatabaseUser("tenant-1", "their password")
ON_BLUE = {
    "_id": ACME,
    "name": "Acme",
    "cluster": "blue",
    "dbName": "tenant_acme",
    "isolation": "shared",
    "status": "active",
    "system": False,
}
EXTERNAL = {
    "_id": ACME,
    "cluster": "external",
    "dbName": "acme",
    "dbUri": CIPHER.encrypt(URI, record_id=ACME, field="dbUri"),
}


class Server:
    """What happens at MongoDB, in its order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[Any] = []
        self.drop_fails: Exception | None = None
        self.admin_db = "the admin database"
        self.current: dict[str, Any] | None = ON_BLUE
        """The tenant's record, when it is read once more."""
        self.is_another_ones = False
        """Whether the database turns out not to be the tenant's own."""
        monkeypatch.setattr(module, "find_tenant", self._find_tenant)
        monkeypatch.setattr(module, "ensure_own_database", self._ensure_own_database)
        monkeypatch.setattr(module, "create_user", self._create)
        monkeypatch.setattr(module, "drop_user", self._drop)
        self.access = TenantAccess(cast(Any, self), CIPHER)

    def _ensure_own_database(self, admin_db: Any, db: Any, tenant_id: ObjectId) -> None:
        assert (admin_db, tenant_id) == (self.admin_db, ACME)
        if self.is_another_ones:
            raise DatabaseLost(f"{db.name} is another tenant's")

    def _client(self, whose: str) -> Any:
        def database(name: str) -> Any:
            assert name in (_scope.get() or ()), "the check of the databases knows of it"
            return SimpleNamespace(
                name=name, whose=whose, command=lambda what: self.did.append((what, name, whose))
            )

        client = type("Client", (), {"__getitem__": lambda _, name: database(name)})
        return client()

    @contextmanager
    def operator_client(self, cluster: str, uri: str | None) -> Iterator[Any]:
        self.did.append(("operator", cluster, uri))
        yield self._client("operator")
        self.did.append("operator left")

    @contextmanager
    def user_client(self, cluster: str, db_name: str, user: DatabaseUser) -> Iterator[Any]:
        self.did.append(("user", cluster, db_name, user))
        try:
            yield self._client("user")
        finally:
            self.did.append("user left")

    def _find_tenant(self, admin_db: Any, tenant_id: ObjectId) -> dict[str, Any] | None:
        self.did.append(("read again", admin_db, tenant_id))
        return self.current

    def _create(self, db: Any, role: str) -> DatabaseUser:
        self.did.append(("created", db.name, db.whose, role))
        return USER

    def _drop(self, db: Any, name: str) -> None:
        if self.drop_fails:
            raise self.drop_fails
        self.did.append(("dropped", db.name, db.whose, name))

    def record(self, admin_db: Any, action: str, tenant_id: ObjectId, **details: Any) -> None:
        """What the actor of these tests notes."""
        self.did.append(("noted", admin_db, action, tenant_id, details))

    def opened(self, record: Any, role: Literal["read", "readWrite"]) -> Any:
        return self.access.opened(record, cast(Any, self), role=role, through="shell")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    set_scope("the_admin_db")
    yield Server(monkeypatch)
    assert sorted(_scope.get() or ()) == ["the_admin_db"], "nothing more is allowed afterwards"
    clear_scope()


@pytest.mark.parametrize("role", ["read", "readWrite"])
def test_on_a_cluster_it_is_a_user_of_that_role_who_exists_for_the_time_being(
    server: Server, role: Literal["read", "readWrite"]
) -> None:
    with server.opened(ON_BLUE, role) as db:
        server.did.append(("works", db.name, db.whose))
    details = {"role": role, "through": "shell", "databaseUser": "tenant-1"}
    assert server.did == [
        ("operator", "blue", None),
        ("created", "tenant_acme", "operator", role),
        ("noted", "the admin database", "tenant.shell", ACME, details),
        ("user", "blue", "tenant_acme", USER),
        ("ping", "tenant_acme", "user"),
        ("read again", "the admin database", ACME),
        ("works", "tenant_acme", "user"),
        "user left",
        ("dropped", "tenant_acme", "operator", "tenant-1"),
        "operator left",
    ]


@pytest.mark.parametrize(("record", "role"), [(ON_BLUE, "read"), (EXTERNAL, "readWrite")])
def test_a_database_that_is_not_the_tenants_is_not_opened(
    server: Server, record: dict[str, Any], role: Literal["read", "readWrite"]
) -> None:
    server.is_another_ones = True
    with pytest.raises(DatabaseLost), server.opened(record, role):
        pytest.fail("it was opened")
    assert [one[0] for one in server.did if isinstance(one, tuple)] == ["operator"]


def test_a_user_is_dropped_whatever_happens(server: Server) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), server.opened(ON_BLUE, "read"):
        fail()
    assert server.did[-2:] == ["user left", ("dropped", "tenant_acme", "operator", "tenant-1")]


def test_a_user_who_cannot_be_dropped_is_left_to_gc(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    server.drop_fails = AutoReconnect()
    with server.opened(ON_BLUE, "read"):
        pass
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "tenant_acme" in caplog.text


MAINTENANCE = {**ON_BLUE, "status": "maintenance", "maintenanceHolder": "a restore"}


@pytest.mark.parametrize(
    ("current", "why"),
    [
        (None, "another database"),
        ({**ON_BLUE, "cluster": "green"}, "another database"),
        ({**ON_BLUE, "dbName": "tenant_other"}, "another database"),
        (MAINTENANCE, "in maintenance"),
        ({**MAINTENANCE, "maintenanceUntil": datetime.now(UTC) + timedelta(days=1)}, "maintenance"),
    ],
)
def test_a_tenant_that_gets_another_database_is_not_opened(
    server: Server, current: dict[str, Any] | None, why: str
) -> None:
    server.current = current
    with pytest.raises(Conflict, match=why), server.opened(ON_BLUE, "read"):
        pytest.fail("it was opened")
    assert server.did[-3:] == [
        ("read again", "the admin database", ACME),
        "user left",
        ("dropped", "tenant_acme", "operator", "tenant-1"),
    ]


@pytest.mark.parametrize(
    "current",
    [
        {**ON_BLUE, "status": "maintenance"},
        {**MAINTENANCE, "maintenanceUntil": datetime(2020, 1, 1, tzinfo=UTC)},
        {**ON_BLUE, "status": "suspended"},
    ],
)
def test_a_tenant_that_stays_where_it_is_is_opened(server: Server, current: dict[str, Any]) -> None:
    server.current = current
    with server.opened(ON_BLUE, "read") as db:
        server.did.append(("works", db.name, db.whose))
    assert ("works", "tenant_acme", "user") in server.did


def test_on_a_server_of_its_own_it_is_the_user_of_its_uri(server: Server) -> None:
    with server.opened(EXTERNAL, "readWrite") as db:
        server.did.append(("works", db.name, db.whose))
    details = {"role": "readWrite", "through": "shell"}
    assert server.did == [
        ("operator", "external", URI),
        ("noted", "the admin database", "tenant.shell", ACME, details),
        ("works", "acme", "operator"),
        "operator left",
    ]


def test_no_other_rights_can_be_had_there(server: Server) -> None:
    with pytest.raises(Conflict, match="server of its own"), server.opened(EXTERNAL, "read"):
        pytest.fail("it was opened")
    assert server.did == []
