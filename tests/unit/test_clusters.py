"""Clusters, without a server: capacity, forecast, identity, who may wait, whose client closes."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.deployments.clusters import Clusters
from multitenant.tenancy.deployments.deployments import Identity
from multitenant.tenancy.lifecycle.cluster_capacity import declared_per_tenant, is_within, scarcest
from multitenant.tenancy.operations.cluster_report import ClusterStatus, forecast
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency

NOW = datetime(2030, 1, 1, tzinfo=UTC)


class TestCapacity:
    def test_what_was_measured_counts_where_it_is_more_than_is_declared(self) -> None:
        declared = int(declared_per_tenant()["collections"])
        limits = {"capacity": {"collections": 4 * declared}}
        assert is_within(limits, 4)
        assert not is_within(limits, 5)
        measured = {"collections": 2.0 * declared, "indexes": 1.0}
        assert not is_within({**limits, "measured": measured}, 3)
        assert is_within({**limits, "measured": measured}, 2)

    def test_without_limits_nothing_is_too_much_and_more_is_fuller(self) -> None:
        assert is_within({}, 1_000_000)
        assert scarcest({}, 10).free_share > scarcest({}, 20).free_share
        assert scarcest({}, 1_000_000).free_share < 0

    def test_the_forecast_is_by_the_resource_that_ends_first(self) -> None:
        limits = {"tenants": 100, "diskBytes": 1000}
        record = {"state": "open", "capacity": limits, "measured": {"diskBytes": 20.0}}
        status = ClusterStatus(record, 30, 30, per_day=2, error=None)
        assert (status.limiting.resource, status.free_tenants) == ("diskBytes", 20)
        assert status.full_on(NOW) == NOW + timedelta(days=10)
        drained = ClusterStatus({**record, "state": "draining"}, 30, 30, per_day=2, error=None)
        assert drained.full_on(NOW) is None

    @pytest.mark.parametrize(
        ("free", "per_day", "days"),
        [(10, 0.5, 20), (0, 0, 0), (10, 0, None), (None, 5, None), (10**9, 1, None)],
    )
    def test_the_forecast_is_a_day_or_never(
        self, free: int | None, per_day: float, days: int | None
    ) -> None:
        expected = None if days is None else NOW + timedelta(days=days)
        assert forecast(free, per_day, NOW) == expected


class TestIdentity:
    @pytest.mark.parametrize(
        ("one", "other", "same"),
        [
            (("a", ("rs/h:1",)), ("a", ("rs/h:2",)), True),
            (("a", ("rs/h:1",)), ("b", ("rs/h:1",)), False),
            ((None, ("rs/h:1", "rs/h:2")), ("b", ("rs/h:2", "rs/h:3")), True),
            ((None, ("rs/h:1",)), (None, ("other/h:1",)), False),
        ],
    )
    def test_ids_decide_where_both_are_known_and_else_members(
        self, one: Any, other: Any, same: bool
    ) -> None:
        assert Identity(*one).is_same(Identity(*other)) is same
        assert Identity(*other).is_same(Identity(*one)) is same


class TestConcurrency:
    def test_only_some_wait_for_a_cluster_that_does_not_answer(self) -> None:
        now = [0.0]
        counted = ClusterConcurrency(2, lambda _: False, clock=lambda: now[0])
        entered = [counted.enter("blue") for _ in range(5)]
        counted.note_failure("blue")
        with pytest.raises(DatabaseUnavailable) as refused:
            counted.enter("blue")
        assert refused.value.retry_after
        counted.enter("green")
        for entered_at in entered[:4]:
            counted.leave("blue", entered_at)
        counted.enter("blue")
        with pytest.raises(DatabaseUnavailable):
            counted.enter("blue")
        now[0] = 5.1
        counted.enter("blue")
        assert counted.counts() == {"blue": 3, "green": 1}

    def test_one_without_a_primary_counts_as_such_once_it_had_time_to_find_it(self) -> None:
        now = [0.0]
        counted = ClusterConcurrency(1, lambda name: name == "blue", clock=lambda: now[0])
        counted.enter("blue")
        counted.enter("blue")
        now[0] = 2.1
        with pytest.raises(DatabaseUnavailable):
            counted.enter("blue")

    def test_so_it_does_with_each_new_client(self) -> None:
        now = [0.0]
        counted = ClusterConcurrency(1, lambda _: True, clock=lambda: now[0])
        counted.enter("blue")
        now[0] = 2.1
        counted.note_closed("blue")
        counted.enter("blue")
        now[0] = 4.2
        with pytest.raises(DatabaseUnavailable):
            counted.enter("blue")

    @pytest.mark.parametrize("cluster", ["default", "external"])
    def test_the_admin_databases_and_tenants_own_servers_are_not_limited(
        self, cluster: str
    ) -> None:
        counted = ClusterConcurrency(1, lambda _: True)
        counted.note_failure(cluster)
        for _ in range(3):
            counted.enter(cluster)


class FakeFactory:
    """A ClientFactory without servers."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.on_open: Callable[[str], None] = lambda _: None

    def open_shared(self, uri: str, *, admin: bool = False) -> Any:
        self.on_open(uri)
        client = FakeClient(uri)
        self.opened.append(client)
        return client

    def shared_limit(self, servers: int) -> int:
        return 10 * servers


class FakeClient:
    """An OpenedClient without a server."""

    limit = 10
    line = None
    pooled = 1

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.client = self
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class TestClients:
    @pytest.fixture
    def uris(self) -> dict[str, str]:
        return {"blue": "first"}

    @pytest.fixture
    def factory(self) -> FakeFactory:
        return FakeFactory()

    @pytest.fixture
    def clusters(self, uris: dict[str, str], factory: Any) -> Clusters:
        def find_uris(names: list[str]) -> dict[str, str | None]:
            return {name: uris.get(name) for name in names}

        return Clusters("here", uris.get, factory, find_uris=find_uris)

    def test_all_hold_one_client_and_it_stays_open_when_they_are_done(
        self, clusters: Clusters, factory: FakeFactory
    ) -> None:
        first, second = clusters.hold("blue"), clusters.hold("blue")
        assert first.client is second.client
        first.close()
        first.close()
        second.close()
        assert [client.closed for client in factory.opened] == [0]

    def test_a_new_uri_gets_a_new_client_and_the_old_one_closes_with_its_last_hold(
        self, clusters: Clusters, factory: FakeFactory, uris: dict[str, str]
    ) -> None:
        first, second = clusters.hold("blue"), clusters.hold("blue")
        assert clusters.refresh() == []
        uris["blue"] = "second"
        assert clusters.refresh() == ["blue"]
        third = clusters.hold("blue")
        old, new = factory.opened
        assert (old.uri, new.uri) == ("first", "second")
        assert cast(Any, third.client) is new
        assert len(clusters.opened()) == 2
        first.close()
        first.close()
        assert old.closed == 0
        second.close()
        assert [old.closed, new.closed] == [1, 0]
        assert len(clusters.opened()) == 1

    def test_one_that_nobody_holds_closes_at_once(
        self, clusters: Clusters, factory: FakeFactory, uris: dict[str, str]
    ) -> None:
        clusters.hold("blue").close()
        uris["blue"] = "second"
        clusters.refresh()
        assert factory.opened[0].closed == 1

    def test_one_that_is_gone_is_closed_and_cannot_be_reached(
        self, clusters: Clusters, factory: FakeFactory, uris: dict[str, str]
    ) -> None:
        clusters.hold("blue").close()
        del uris["blue"]
        assert clusters.refresh() == ["blue"]
        assert factory.opened[0].closed == 1
        with pytest.raises(DatabaseUnavailable):
            clusters.hold("blue")

    def test_closing_closes_also_what_is_out_of_date(
        self, clusters: Clusters, factory: FakeFactory, uris: dict[str, str]
    ) -> None:
        hold = clusters.hold("blue")
        uris["blue"] = "second"
        clusters.refresh()
        clusters.hold("blue")
        clusters.close()
        assert [client.closed for client in factory.opened] == [1, 1]
        hold.close()
        assert factory.opened[0].closed == 1
        with pytest.raises(DatabaseUnavailable):
            clusters.hold("blue")

    def test_a_cluster_that_takes_long_to_find_keeps_no_other_waiting(
        self, clusters: Clusters, factory: FakeFactory, uris: dict[str, str]
    ) -> None:
        """Its servers may be looked up in a DNS that does not answer."""
        uris["green"] = "slow"
        looking, found = threading.Event(), threading.Event()

        def look_up(uri: str) -> None:
            if uri == "slow":
                looking.set()
                assert found.wait(20)

        factory.on_open = look_up
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(clusters.hold, "green")
            assert looking.wait(20)
            try:
                assert cast(Any, clusters.hold("blue").client).uri == "first"
                uris["blue"] = "second"
                assert clusters.refresh() == ["blue"]
                assert cast(Any, clusters.default).uri == "here"
                uris["green"] = "elsewhere"
                assert clusters.refresh() == ["green"]
            finally:
                found.set()
            assert cast(Any, slow.result(20).client).uri == "elsewhere", "what was found is old"
        assert [client.closed for client in factory.opened if client.uri == "slow"] == [1]

    def test_a_uri_that_was_read_before_a_change_is_not_kept(self, factory: Any) -> None:
        read = ["first"]

        def find_uri(name: str) -> str:
            found = read[-1]
            if found == "first":
                read.append("second")
                clusters.note_change()  # before the first answer has arrived
            return found

        clusters = Clusters("here", find_uri, factory, find_uris=lambda _: {})
        assert clusters.uri("blue") == "second"

    def test_one_that_nobody_uses_is_given_up_and_opened_again(
        self, clusters: Clusters, factory: FakeFactory, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert cast(Any, clusters.default).uri == "here"
        hold = clusters.hold("blue")
        default, blue = factory.opened
        default.pooled = blue.pooled = 0
        assert clusters.give_up_idle() == [], "it was opened just now"
        monkeypatch.setattr("multitenant.tenancy.deployments.clusters.IDLE_SECONDS", -1.0)
        blue.pooled = 1
        assert clusters.give_up_idle() == []
        blue.pooled = 0
        assert clusters.give_up_idle() == ["blue"]
        assert blue.closed == 0, "it is held"
        hold.close()
        assert [default.closed, blue.closed] == [0, 1]
        assert cast(Any, clusters.hold("blue").client) is factory.opened[-1] is not blue
