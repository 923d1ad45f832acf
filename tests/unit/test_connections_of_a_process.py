"""Every way to a database in a process: leases, clients of operators and users, clusters that
change, the end, and the report of all that. MongoDB and the clients are ours."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from bson import ObjectId
from pydantic import SecretStr
from pymongo.errors import AutoReconnect

from multitenant.errors import DatabaseLost, DatabaseUnavailable, TokenRevoked
from multitenant.security.field_encryption import FieldCipher
from multitenant.tenancy.deployments.database_users import DatabaseUser
from multitenant.tenancy.deployments.isolation import _scope, clear_scope, set_scope
from multitenant.tenancy.routing import connection_manager as module
from multitenant.tenancy.routing.connection_manager import ConnectionManager, decrypt_cluster_uri
from multitenant.tenancy.routing.connection_report import report_connections
from multitenant.tenancy.routing.placement import Connection, TenantPlacement
from multitenant.tenancy.routing.recent_answers import at_present
from multitenant.tenancy.routing.tenant import Tenant

CIPHER = FieldCipher(["a key " * 10])
ADMIN_URI = "mongodb://admin.example/"
BLUE_URI = "mongodb://blue.example/"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


OnOutcome = Callable[[bool], None]


class Opened:
    """An OpenedClient without a server."""

    def __init__(
        self, uri: str, limit: int, on_outcome: OnOutcome | None = None, **credentials: Any
    ) -> None:
        self.uri, self.credentials, self.on_outcome = uri, credentials, on_outcome
        self.limit = limit
        self.closed = 0
        self.line = None
        self.pooled, self.in_use, self.monitoring = 3, 1, 2
        self.primary = True

    @property
    def client(self) -> Any:
        return self

    @property
    def topology_description(self) -> Any:
        return SimpleNamespace(server_descriptions=dict, has_writable_server=lambda: self.primary)

    def __getitem__(self, name: str) -> Any:
        return f"{name} at {self.uri}"

    def close(self) -> None:
        self.closed += 1


class Process:
    """The connections of a process, and all that is around them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened: list[Opened] = []
        self.tenants: dict[ObjectId, dict[str, Any]] = {}
        self.clusters: dict[str, dict[str, Any]] = {}
        self.looked_up: list[ObjectId] = []
        self.identified: list[tuple[str, ObjectId]] = []
        self.lost: DatabaseLost | None = None
        self.while_connecting: Callable[[], None] = lambda: None
        self.watched = 0
        self.as_of: float | None = None
        self.did: list[Any] = []
        self.dedicated_limit_of_one = 5
        settings = SimpleNamespace(
            admin_db_uri=SecretStr(ADMIN_URI),
            admin_db_name="the_admin_db",
            connection_budget=20,
            max_waiting_for_a_cluster=1,
            tenant_cache_size=10,
            tenant_cache_seconds=77,
            tenant_stale_seconds=5,
            dedicated_idle_seconds=66,
        )
        self.settings = cast(Any, settings)
        repository = "multitenant.repositories.admin.handshakes"
        monkeypatch.setattr(f"{repository}.note_process", self._note)
        monkeypatch.setattr(f"{repository}.remove_process", lambda *_: self.did.append("left"))
        unheard = SimpleNamespace(hear=lambda *_: None)
        monkeypatch.setattr("multitenant.tenancy.routing.presence.CLOCK", unheard)
        monkeypatch.setattr(module, "find_tenant", self._find_tenant)
        monkeypatch.setattr(module, "find_cluster", self._find_cluster)
        monkeypatch.setattr(module, "find_clusters", self._find_clusters)
        monkeypatch.setattr(module, "ensure_own_database", self._ensure_own_database)
        monkeypatch.setattr("multitenant.tenancy.routing.tenant_cache.ROOM_SECONDS", 0.01)
        self.connections = ConnectionManager(
            self.settings,
            cast(Any, self),
            CIPHER,
            placement=cast(Any, self),
            vouches=lambda moment: moment > 0,
            as_of=lambda: self.as_of or time.monotonic(),
            watch=self._watch,
        )

    # The admin database:

    def _note(self, db: Any, name: str) -> datetime:
        assert db == f"the_admin_db at {ADMIN_URI}"
        self.did.append("noted")
        return NOW

    def _find_tenant(self, db: Any, tenant_id: ObjectId) -> dict[str, Any] | None:
        assert db == f"the_admin_db at {ADMIN_URI}"
        self.looked_up.append(tenant_id)
        return self.tenants.get(tenant_id)

    def _find_cluster(self, db: Any, name: str) -> dict[str, Any] | None:
        assert db == f"the_admin_db at {ADMIN_URI}"
        return self.clusters.get(name)

    def _find_clusters(self, db: Any, names: list[str]) -> list[dict[str, Any]]:
        found = (self._find_cluster(db, name) for name in names)
        return [record for record in found if record]

    def _ensure_own_database(self, admin_db: Any, db: Any, tenant_id: ObjectId) -> None:
        assert admin_db == f"the_admin_db at {ADMIN_URI}"
        assert db.name in (_scope.get() or [db.name]), "the check of the databases knows of it"
        self.identified.append((db.name, tenant_id))
        if self.lost:
            raise self.lost

    def _watch(self) -> None:
        self.watched += 1

    # The factory of clients:

    def open_shared(self, uri: str, *, admin: bool, on_outcome: OnOutcome | None = None) -> Any:
        assert admin is (uri == ADMIN_URI)
        assert (on_outcome is None) is (uri == ADMIN_URI)
        self.opened.append(Opened(uri, limit=4, on_outcome=on_outcome))
        return self.opened[-1]

    def open_foreign(self, uri: str) -> Any:
        self.opened.append(Opened(uri, limit=self.dedicated_limit_of_one))
        return self.opened[-1]

    def open_dedicated(self, uri: str, **credentials: Any) -> Any:
        self.opened.append(Opened(uri, limit=self.dedicated_limit_of_one, **credentials))
        return self.opened[-1]

    def shared_limit(self, servers: int) -> int:
        return 4

    # The placement of tenants:

    def connect(self, tenant: Tenant) -> Connection:
        self.while_connecting()
        database: Any = SimpleNamespace(name=tenant.db_name)
        if tenant.isolation == "shared":
            return Connection(database)
        return Connection(database, own=self.open_dedicated("own"))

    def sockets(self, tenant: Tenant) -> int:
        return 0 if tenant.isolation == "shared" else self.dedicated_limit_of_one

    def add(self, cluster: str = "default", isolation: str = "shared") -> ObjectId:
        tenant_id = ObjectId()
        self.tenants[tenant_id] = {
            "_id": tenant_id,
            "name": "Acme",
            "dbName": f"tenant_{tenant_id}",
            "cluster": cluster,
            "isolation": isolation,
            "status": "active",
            "system": False,
        }
        return tenant_id

    def add_cluster(self, name: str, uri: str = BLUE_URI, **changes: Any) -> None:
        encrypted = CIPHER.encrypt(uri, record_id=name, field="uri")
        self.clusters[name] = {"_id": name, "state": "open", "uri": encrypted, **changes}


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[Process]:
    process = Process(monkeypatch)
    yield process
    process.connections.close(0)


class TestLeasing:
    def test_the_others_know_of_this_process_first(self, process: Process) -> None:
        acme = process.add()
        with process.connections.lease(acme) as lease:
            assert lease.database.name == f"tenant_{acme}"
            assert process.connections.cluster_leases() == {"default": 1}
        assert process.did == ["noted"]
        assert process.connections.cluster_leases() == {}
        assert process.connections.stats()["leases"] == 0

    def test_what_ends_with_a_lease_ends_also_when_it_is_refused(self, process: Process) -> None:
        acme, unknown = process.add("blue"), ObjectId()
        generations = process.connections._generations
        with process.connections.lease(acme):
            (current,) = generations.next(acme)
            assert current.leases == 1
        assert generations.next(acme) == []
        with pytest.raises(TokenRevoked):
            process.connections.lease(unknown)
        assert generations.next(unknown) == []

    def test_only_some_wait_for_a_cluster_that_does_not_answer(self, process: Process) -> None:
        acme, globex = process.add("blue"), process.add("green")
        connections = process.connections
        assert not connections.is_troubled("blue")
        process.add_cluster("blue")
        with connections.operator_client("blue") as client:
            on_outcome = cast(Any, client).on_outcome
        on_outcome(True)
        assert not connections.is_troubled("blue")
        on_outcome(False)
        assert connections.is_troubled("blue")
        assert not connections.is_troubled("green")
        with connections.lease(acme), connections.lease(globex):
            with pytest.raises(DatabaseUnavailable) as refused:
                connections.lease(acme)
            assert refused.value.retry_after == 5, "at once, and not after waiting for an answer"
            assert connections.stats()["leases"] == 2
            (current,) = connections._generations.next(acme)
            assert current.leases == 1
        assert connections.cluster_leases() == {}
        connections.lease(acme).release()

    def test_only_some_wait_for_a_cluster_that_has_not_answered_yet(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("multitenant.tenancy.routing.cluster_concurrency.SILENT_SECONDS", 0.01)
        process.add_cluster("blue")
        acme = process.add("blue")
        connections = process.connections
        with connections.operator_client("blue") as client, connections.lease(acme):
            with pytest.raises(DatabaseUnavailable) as refused:
                connections.lease(acme)
            assert refused.value.retry_after == 1
            assert connections.cluster_leases() == {"blue": 1}
            cast(Any, client).on_outcome(True)
            with connections.lease(acme), connections.lease(acme):
                assert connections.cluster_leases() == {"blue": 3}

    @pytest.mark.parametrize("cluster", ["blue", "external"])
    @pytest.mark.parametrize("fails", [True, False])
    def test_who_connects_counts_as_waiting_for_the_place(
        self, process: Process, cluster: str, fails: bool
    ) -> None:
        connections, counts = process.connections, []
        places: list[str] = []

        def connect() -> None:
            counts.append(connections.cluster_leases())
            places.extend(connections._concurrency._in_flight)
            if fails:
                raise AutoReconnect

        process.while_connecting = connect
        acme = process.add(cluster, "dedicated")
        if fails:
            with pytest.raises(AutoReconnect):
                connections.lease(acme)
        else:
            connections.lease(acme).release()
        assert counts == [{cluster: 1}]
        assert places == ["blue" if cluster == "blue" else f"external:{acme}"]
        assert connections.cluster_leases() == {}

    def test_tenants_on_servers_of_their_own_wait_for_those_alone(self, process: Process) -> None:
        acme, globex = (process.add("external", "dedicated") for _ in range(2))
        connections = process.connections
        connections._concurrency.note_failure(f"external:{acme}")
        with connections.lease(acme), connections.lease(globex):
            assert connections.cluster_leases() == {"external": 2}
            with pytest.raises(DatabaseUnavailable) as refused:
                connections.lease(acme)
            assert refused.value.retry_after == 5

    def test_a_cluster_without_a_primary_is_trouble(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process.add_cluster("blue")
        connections = process.connections
        monkeypatch.setattr("multitenant.tenancy.routing.cluster_concurrency.WARM_UP_SECONDS", -1.0)
        with connections.operator_client("blue"), connections.lease(process.add("blue")):
            assert not connections.is_troubled("blue")
            process.opened[-1].primary = False
            assert connections.is_troubled("blue")

    @pytest.mark.parametrize(
        ("cluster", "isolation", "watched"),
        [("default", "shared", 0), ("default", "dedicated", 1), ("blue", "shared", 1)],
    )
    def test_a_client_that_must_be_looked_after_is(
        self, process: Process, cluster: str, isolation: str, watched: int
    ) -> None:
        process.connections.presence.ensure()
        before = process.watched
        assert before == 1, "others have to be answered"
        process.connections.lease(process.add(cluster, isolation)).release()
        assert process.watched == before + watched

    def test_a_lease_ends_where_nobody_can_look_after_its_client(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process.connections.presence.ensure()

        def fail() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(process.connections, "_watch", fail)
        acme = process.add("blue")
        with pytest.raises(ZeroDivisionError):
            process.connections.lease(acme)
        assert process.connections.stats()["leases"] == 0
        assert process.connections.cluster_leases() == {}
        assert process.connections._generations.next(acme) == []


class TestWhoseDatabaseItIs:
    @pytest.fixture
    def _scope_of_a_request(self) -> Iterator[None]:
        set_scope("the_admin_db")
        yield
        assert sorted(_scope.get() or ()) == ["the_admin_db"], "nothing more is allowed afterwards"
        clear_scope()

    @pytest.mark.usefixtures("_scope_of_a_request")
    def test_it_is_looked_at_before_it_is_given_out_and_again_after_a_while(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        acme = process.add()
        looked = (f"tenant_{acme}", acme)
        now, times = 1000.0, []
        with process.connections.lease(acme) as lease, monkeypatch.context() as later:
            later.setattr(time, "monotonic", lambda: now)
            assert process.identified == [], "nobody has used it"
            for seconds in (0, 1.0, 0.125):  # a write may come 1 s later
                now += seconds
                assert lease.database.name == f"tenant_{acme}"
                times.append(len(process.identified))
            for seconds in (5.0, 0.125):  # and a read 5 s later
                now += seconds
                assert lease.database_to_read.name == f"tenant_{acme}"
                times.append(len(process.identified))
        assert times == [1, 1, 2, 2, 3]
        assert process.identified == [looked] * 3

    def test_one_that_is_not_the_tenants_is_not_given_out(
        self, process: Process, caplog: pytest.LogCaptureFixture
    ) -> None:
        process.lost = DatabaseLost("it is another tenant's: for operators")
        with process.connections.lease(process.add()) as lease:
            for _ in range(2):
                with pytest.raises(DatabaseUnavailable, match="operators have to look") as refused:
                    _ = lease.database
                assert not isinstance(refused.value, DatabaseLost)
                assert refused.value.retry_after == 30
            assert len(process.identified) == 2, "it is asked again each time"
            assert "another tenant's" in caplog.text
            process.lost = None
            assert lease.database_to_read


class TestTheCache:
    """What the manager passes on to it."""

    def test_it_is_set_up_by_the_settings(self, process: Process) -> None:
        cache = process.connections._tenants
        assert cache._entries.get_size() == 10
        assert (cache._seconds, cache._stale_seconds, cache._idle_seconds) == (77, 5, 66)
        assert cache._vouches(1) is True
        process.as_of = 7.0
        assert cache._as_of() == 7.0

    def test_a_tenant_that_was_forgotten_is_read_again(self, process: Process) -> None:
        acme, globex = process.add(), process.add()
        for changed in ([], [acme]):
            for tenant in changed:
                process.connections.forget(tenant)
            for tenant in (acme, globex):
                process.connections.lease(tenant).release()
        assert process.looked_up == [acme, globex, acme]
        process.connections.forget_all()
        for tenant in (acme, globex):
            process.connections.lease(tenant).release()
        assert process.looked_up[3:] == [acme, globex]

    def test_a_tenant_that_is_gone_is_taken_out(self, process: Process) -> None:
        acme = process.add(isolation="dedicated")
        process.connections.lease(acme).release()
        assert process.connections.evict(acme) is True
        assert process.opened[-1].closed == 1
        assert process.connections.own_clients() == []

    def test_idle_clients_are_closed(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        acme = process.add(isolation="dedicated")
        process.connections.lease(acme).release()
        process.connections.forget_all()
        process.connections.close_idle()
        assert process.opened[-1].closed == 0
        process.connections.forget(acme)
        process.connections.close_idle()
        assert process.opened[-1].closed == 1

    def test_clients_of_tenants_have_the_room_that_clusters_leave(self, process: Process) -> None:
        """20 in all; the admin database has 4, and each tenant's client 5."""
        tenants = [process.add(isolation="dedicated") for _ in range(4)]
        leases = [process.connections.lease(tenant) for tenant in tenants[:3]]
        with pytest.raises(DatabaseUnavailable):
            process.connections.lease(tenants[3])
        process.add_cluster("blue")
        with (
            pytest.raises(DatabaseUnavailable),
            process.connections.operator_client("blue"),
        ):
            pytest.fail("there is no room for it")
        leases[0].release()
        with process.connections.operator_client("blue"):
            assert [one.closed for one in process.opened if one.uri == "own"] == [1, 0, 0]
        for lease in leases[1:]:
            lease.release()


class TestOperators:
    def test_they_use_the_clusters_client_which_stays_open(self, process: Process) -> None:
        process.add_cluster("blue")
        for _ in range(2):
            with process.connections.operator_client("blue") as client:
                assert cast(Any, client).uri == BLUE_URI
        assert [(one.uri, one.closed) for one in process.opened[1:]] == [(BLUE_URI, 0)]

    def test_a_tenants_own_server_is_left_afterwards(self, process: Process) -> None:
        def use() -> None:
            with process.connections.operator_client("external", "mongodb://theirs/") as client:
                assert cast(Any, client).uri == "mongodb://theirs/"
                assert process.opened[-1].closed == 0
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            use()
        assert [(one.credentials, one.closed) for one in process.opened] == [({}, 1)]

    def test_a_user_logs_in_as_themselves_and_leaves(self, process: Process) -> None:
        process.add_cluster("blue")
        user = DatabaseUser("somebody", "their password")

        def use() -> None:
            with process.connections.user_client("blue", "acme", user) as client:
                assert cast(Any, client).credentials == user.login("acme")
                assert process.opened[-1].closed == 0
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            use()
        assert (process.opened[-1].uri, process.opened[-1].closed) == (BLUE_URI, 1)

    @pytest.mark.parametrize("state", ["unknown", "closed", "without a URI"])
    def test_a_cluster_that_is_not_there_cannot_be_reached(
        self, process: Process, state: str
    ) -> None:
        if state != "unknown":
            process.add_cluster("blue", state="closed" if state == "closed" else "open")
        if state == "without a URI":
            del process.clusters["blue"]["uri"]
        with (
            pytest.raises(DatabaseUnavailable),
            process.connections.operator_client("blue"),
        ):
            pytest.fail("it was reached")

    def test_a_uri_is_bound_to_its_cluster(self, process: Process) -> None:
        process.add_cluster("blue")
        assert decrypt_cluster_uri(CIPHER, process.clusters["blue"]) == BLUE_URI


class TestClustersThatChange:
    def test_their_tenants_get_a_new_client(self, process: Process) -> None:
        process.add_cluster("blue")
        process.add_cluster("green", "mongodb://green/")
        tenants = [process.add(cluster) for cluster in ("blue", "green")]
        for cluster, tenant in zip(("blue", "green"), tenants, strict=True):
            with process.connections.operator_client(cluster):
                process.connections.lease(tenant).release()
        process.add_cluster("blue", "mongodb://moved/")
        process.connections.refresh_clusters()
        assert {one.uri: one.closed for one in process.opened} == {
            ADMIN_URI: 0,
            BLUE_URI: 1,
            "mongodb://green/": 0,
        }
        for tenant in tenants:
            process.connections.lease(tenant).release()
        assert process.looked_up == [*tenants, tenants[0]]

    def test_one_that_did_not_change_keeps_its_clients(self, process: Process) -> None:
        process.add_cluster("blue")
        acme = process.add("blue")
        with process.connections.operator_client("blue"):
            process.connections.lease(acme).release()
        process.connections.refresh_clusters()
        process.connections.lease(acme).release()
        assert process.looked_up == [acme]
        assert process.opened[-1].closed == 0

    @pytest.mark.parametrize(
        "spoil", [lambda record: record["uri"].update(keyId="lost"), lambda it: it.pop("state")]
    )
    def test_one_whose_uri_cannot_be_read_keeps_its_client_and_hinders_no_other(
        self,
        process: Process,
        caplog: pytest.LogCaptureFixture,
        spoil: Callable[[dict[str, Any]], object],
    ) -> None:
        for cluster in ("blue", "green"):
            process.add_cluster(cluster)
            with process.connections.operator_client(cluster):
                pass
        spoil(process.clusters["blue"])
        process.add_cluster("green", "mongodb://moved/")
        process.connections.refresh_clusters()
        assert [one.closed for one in process.opened] == [0, 0, 1]
        assert "cluster blue" in caplog.text

    def test_a_change_that_could_not_be_read_is_to_be_read_again(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        process.add_cluster("blue")
        with process.connections.operator_client("blue"):
            pass
        with monkeypatch.context() as failing:
            failing.setattr(module, "find_clusters", Mock(side_effect=AutoReconnect))
            with pytest.raises(AutoReconnect):
                process.connections.refresh_clusters()
        assert process.connections.clusters_are_old
        process.connections.refresh_clusters()
        assert not process.connections.clusters_are_old


class TestClustersThatNobodyUses:
    def test_the_clients_of_dedicated_tenants_there_stay_open(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("multitenant.tenancy.deployments.clusters.IDLE_SECONDS", -1.0)
        process.add_cluster("blue")
        with process.connections.operator_client("blue"):
            pass
        shared = process.opened[-1]
        acme, own = process.add("blue"), process.add("blue", isolation="dedicated")
        for tenant in (acme, own):
            process.connections.lease(tenant).release()
        shared.pooled = 0
        process.connections.close_idle_clusters()
        assert [shared.closed, process.opened[-1].closed] == [1, 0]
        for tenant in (acme, own):
            process.connections.lease(tenant).release()
        assert process.looked_up == [acme, own, acme]

    def test_a_change_counts_also_for_what_is_being_read(self, process: Process) -> None:
        process.add_cluster("blue")
        find = process._find_cluster

        def find_old(db: Any, name: str) -> Any:
            found = find(db, name)
            process._find_cluster = find  # type: ignore[method-assign]
            process.add_cluster("blue", "mongodb://moved/")
            process.connections.refresh_clusters_soon()
            return found

        process._find_cluster = find_old  # type: ignore[method-assign]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "find_cluster", lambda db, name: process._find_cluster(db, name))
            with process.connections.operator_client("blue"):
                assert process.opened[-1].uri == "mongodb://moved/"


class TestTheClock:
    def test_the_time_is_asked_for_where_it_was_never_told(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = SimpleNamespace(is_set=False, now=lambda: 42.0, hear=lambda *_: None)
        monkeypatch.setattr(module, "CLOCK", clock)
        assert process.connections.now() == 42.0
        assert process.did == ["noted"]
        clock.is_set = True
        process.connections.presence.leave()
        assert process.connections.now() == 42.0
        assert process.did == ["noted", "left"]


class TestTheEnd:
    def test_everything_is_closed_and_the_others_are_told(self, process: Process) -> None:
        process.connections.lease(process.add(isolation="dedicated")).release()
        assert process.connections.close(0) is True
        assert process.did == ["noted", "left"]
        assert [one.closed for one in process.opened] == [1, 1]
        with pytest.raises(DatabaseUnavailable):
            process.connections.lease(process.add())

    def test_who_still_serves_somebody_does_not_say_that_it_ends(self, process: Process) -> None:
        lease = process.connections.lease(process.add(isolation="dedicated"))
        assert process.connections.close(0) is False
        assert process.did == ["noted"]
        assert [one.closed for one in process.opened] == [1, 1]
        lease.release()

    def test_without_settings_of_ours_a_process_is_watched_by_nobody(
        self, process: Process, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain = ConnectionManager(process.settings, cast(Any, process), CIPHER)
        plain._watch()
        assert plain._tenants._vouches(1) is False
        assert plain._tenants._as_of is at_present
        placement = plain._tenants._placement
        assert isinstance(placement, TenantPlacement)
        evicted: list[ObjectId] = []
        monkeypatch.setattr(plain._tenants, "evict", evicted.append)
        acme = ObjectId()
        placement._on_refused(acme)
        assert evicted == [acme]
        plain.close(0)


def test_the_report_has_every_client_and_adds_up(process: Process) -> None:
    process.add_cluster("blue")
    acme, globex, shared = (
        process.add("blue", "dedicated"),
        process.add("default", "dedicated"),
        process.add("blue"),
    )
    connections = process.connections
    with connections.operator_client("blue") as client:
        cast(Any, client).on_outcome(True)  # it works: there may be any number of leases
    with (
        connections.operator_client("blue"),
        connections.lease(acme),
        connections.lease(acme),
        connections.lease(shared),
    ):
        connections.lease(globex).release()
        process.opened[0].pooled = 7
        report = report_connections(connections, budget=20)
    sockets = {"open": 5, "pooled": 3, "inUse": 1, "monitoring": 2}
    assert report["process"] == os.getpid()
    assert report["leases"] == 3
    assert report["cache"] == {
        "size": 3,
        "capacity": 10,
        "hits": 1,
        "misses": 3,
        "rechecks": 0,
        "evictions": 0,
    }
    assert report["sockets"] == {
        "budget": 20,
        "limit": 18,
        "open": 24,
        "pooled": 16,
        "inUse": 4,
        "monitoring": 8,
    }
    assert sorted(report["clients"], key=str) == sorted(
        [
            {
                "kind": "shared",
                "cluster": "default",
                "leases": 0,
                "limit": 4,
                **sockets,
                "open": 9,
                "pooled": 7,
            },
            {"kind": "shared", "cluster": "blue", "leases": 3, "limit": 4, **sockets},
            {
                "kind": "dedicated",
                "cluster": "blue",
                "tenantId": str(acme),
                "leases": 2,
                "limit": 5,
                **sockets,
            },
            {
                "kind": "dedicated",
                "cluster": "default",
                "tenantId": str(globex),
                "leases": 0,
                "limit": 5,
                **sockets,
            },
        ],
        key=str,
    )
    assert connections.stats()["clients"] == 4


def test_what_the_database_refuses_to_hear_is_raised(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> datetime:
        raise AutoReconnect

    monkeypatch.setattr("multitenant.repositories.admin.handshakes.note_process", fail)
    attempt: Callable[[], Any] = lambda: process.connections.lease(process.add())  # noqa: E731
    with pytest.raises(AutoReconnect):
        attempt()
    assert process.looked_up == []
