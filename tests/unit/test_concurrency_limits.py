"""How many may wait for a cluster that does not answer, and how many one tenant may have."""

from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import (
    AutoReconnect,
    DuplicateKeyError,
    ExecutionTimeout,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from multitenant.errors import DatabaseUnavailable, TenantBusy
from multitenant.tenancy.deployments.steady_client import SteadyClient
from multitenant.tenancy.routing.cluster_concurrency import ClusterConcurrency, is_unreachable
from multitenant.tenancy.routing.tenant_concurrency import TenantConcurrency

ACME, GLOBEX = ObjectId(), ObjectId()


class Cluster:
    """What this process knows of its clusters, at a time of ours."""

    def __init__(self) -> None:
        self.now = 100.0
        self.without_primary: set[str] = set()

    def counted(self, limit: int = 2) -> ClusterConcurrency:
        return ClusterConcurrency(
            limit, lambda name: name in self.without_primary, lambda: self.now
        )


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


class TestClusters:
    def test_as_many_wait_for_a_troubled_cluster_as_the_limit_says(self, cluster: Cluster) -> None:
        counted = cluster.counted(limit=2)
        counted.note_failure("blue")
        entered_at = counted.enter("blue")
        counted.enter("blue")
        with pytest.raises(DatabaseUnavailable) as refused:
            counted.enter("blue")
        assert refused.value.retry_after == 5
        assert counted.counts() == {"blue": 2}, "who was refused is not counted"
        counted.leave("blue", entered_at)
        counted.enter("blue")

    def test_those_on_a_cluster_that_answers_are_not_limited(self, cluster: Cluster) -> None:
        counted = cluster.counted(limit=1)
        for _ in range(3):
            counted.enter("blue")
        assert counted.counts() == {"blue": 3}

    @pytest.mark.parametrize("name", ["default", "external"])
    def test_some_are_never_limited(self, cluster: Cluster, name: str) -> None:
        counted = cluster.counted(limit=1)
        counted.note_failure(name)
        for _ in range(3):
            counted.enter(name)

    def test_a_cluster_nobody_uses_is_not_counted(self, cluster: Cluster) -> None:
        counted = cluster.counted()
        counted.leave("blue", counted.enter("blue"))
        assert counted.counts() == {}

    def test_a_failure_is_trouble_for_five_seconds(self, cluster: Cluster) -> None:
        counted = cluster.counted()
        assert not counted.is_troubled("blue")
        counted.note_failure("blue")
        assert counted.is_troubled("blue")
        assert not counted.is_troubled("green")
        cluster.now += 4.9
        assert counted.is_troubled("blue")
        cluster.now += 0.1
        assert not counted.is_troubled("blue")

    def test_a_cluster_without_a_primary_is_trouble_once_it_had_time_to_find_one(
        self, cluster: Cluster
    ) -> None:
        counted = cluster.counted()
        cluster.without_primary = {"blue"}
        assert not counted.is_troubled("blue"), "nobody has used it"
        counted.enter("blue")
        cluster.now += 2
        assert not counted.is_troubled("blue")
        cluster.now += 0.1
        counted.enter("blue")  # not the first use
        assert counted.is_troubled("blue")
        assert not counted.is_troubled("green")
        cluster.without_primary = set()
        assert not counted.is_troubled("blue")

    @pytest.mark.parametrize(
        ("error", "troubled"),
        [
            (AutoReconnect("gone"), True),
            (ServerSelectionTimeoutError("none found"), True),
            (DuplicateKeyError("twice"), False),
        ],
    )
    def test_a_failure_in_the_block_is_noted_where_nobody_has_answered(
        self,
        cluster: Cluster,
        monkeypatch: pytest.MonkeyPatch,
        error: PyMongoError,
        troubled: bool,
    ) -> None:
        counted = cluster.counted()

        def fail(*_: Any, **__: Any) -> None:
            assert counted.counts() == {"blue": 1}
            raise error

        monkeypatch.setattr(MongoClient, "_retry_internal", fail)
        with (
            SteadyClient(connect=False, on_outcome=partial(counted.note_outcome, "blue")) as client,
            pytest.raises(type(error)),
            counted.entered("blue"),
        ):
            client["db"]["things"].find_one()
        assert counted.counts() == {}
        assert counted.is_troubled("blue") is troubled
        assert not counted.is_troubled("green")

    @pytest.mark.parametrize(
        ("error", "unreachable"),
        [
            (AutoReconnect("gone"), True),
            (NetworkTimeout("slow"), True),
            (ExecutionTimeout("slow", 50), True),
            (OperationFailure("no", 13), False),
            (TimeoutError(), False),
        ],
    )
    def test_what_says_that_nobody_has_answered(self, error: Exception, unreachable: bool) -> None:
        assert is_unreachable(error) is unreachable


class TestTenants:
    def test_one_tenant_has_as_many_as_it_may_have_and_another_its_own(self) -> None:
        counted = TenantConcurrency(2)
        counted.enter(ACME)
        counted.enter(ACME)
        with pytest.raises(TenantBusy) as refused:
            counted.enter(ACME)
        assert refused.value.retry_after == 1
        counted.enter(GLOBEX)
        counted.leave(ACME)
        counted.enter(ACME)
        with pytest.raises(TenantBusy):
            counted.enter(ACME)

    def test_it_is_counted_in_the_block_and_not_after_it(self) -> None:
        counted = TenantConcurrency(1)
        for _ in range(2):
            with pytest.raises(TenantBusy), counted.entered(ACME):
                counted.enter(ACME)
        assert counted._in_flight == {}, "a tenant that is idle takes no memory"
