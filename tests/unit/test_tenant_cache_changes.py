"""The tenant cache where things change or end: what leaves it, is closed, is counted."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, cast

import pytest
from bson import ObjectId

from multitenant.errors import DatabaseUnavailable, TokenRevoked
from multitenant.tenancy.deployments.clusters import Hold
from multitenant.tenancy.routing.placement import Connection
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.routing.tenant_cache import CLOSERS, OwnClient, TenantCache
from tests.support import eventually
from tests.unit.test_tenant_cache import Platform


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> Platform:
    monkeypatch.setattr("multitenant.tenancy.routing.tenant_cache.ROOM_SECONDS", 0.01)
    platform = Platform()
    platform.now = 1000.0
    return platform


def start(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
    """Do it in a thread that keeps nobody from ending, if it hangs."""
    done = Future[Any]()

    def run() -> None:
        try:
            done.set_result(work(*arguments))
        except BaseException as error:  # noqa: BLE001  # the test looks at it
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return done


def closed(platform: Platform) -> list[int]:
    return [client.closed for client in platform.clients]


class TestEviction:
    def test_a_tenant_that_is_gone_leaves_at_once(self, platform: Platform) -> None:
        cache, acme, globex = platform.cache(), platform.add("a"), platform.add("b")
        for tenant in (acme, globex):
            cache.lease(tenant).release()
        assert cache.evict(acme) is True
        assert closed(platform) == [1, 0]
        assert cache.stats()["size"] == 1
        assert cache.evict(acme) is True, "it is out"
        cache.lease(acme).release()
        assert len(platform.clients) == 3

    def test_its_client_closes_with_its_last_lease(self, platform: Platform) -> None:
        cache, acme = platform.cache(), platform.add()
        with cache.lease(acme):
            assert cache.evict(acme) is True
            assert closed(platform) == [0]
        assert closed(platform) == [1]

    def test_a_look_up_under_way_does_not_put_it_back(self, platform: Platform) -> None:
        cache, acme = platform.cache(), platform.add()
        platform.before_load = lambda: cast(None, cache.evict(acme))
        cache.lease(acme).release()
        assert cache.stats()["size"] == 0
        assert closed(platform) == [1]


class TestOfACluster:
    def on(self, platform: Platform, cluster: str) -> ObjectId:
        tenant_id = platform.add(str(len(platform.tenants)))
        platform.tenants[tenant_id] = replace(platform.tenants[tenant_id], cluster=cluster)
        return tenant_id

    def test_its_tenants_leave_and_others_stay(self, platform: Platform) -> None:
        cache = platform.cache()
        tenants = [self.on(platform, name) for name in ("blue", "blue", "green")]
        held = cache.lease(tenants[0])
        for tenant in tenants[1:]:
            cache.lease(tenant).release()
        cache.drop_cluster("blue")
        assert closed(platform) == [0, 1, 0], "one is leased, one is elsewhere"
        held.release()
        assert closed(platform) == [1, 1, 0]
        assert cache.stats()["size"] == 1

    def test_one_that_is_leased_keeps_no_other_open(self, platform: Platform) -> None:
        cache = platform.cache()
        tenants = [self.on(platform, "blue") for _ in range(5)]
        for tenant in tenants:
            cache.lease(tenant).release()
        with cache.lease(tenants[2]):
            cache.drop_cluster("blue")
            assert closed(platform) == [1, 1, 0, 1, 1]
        assert closed(platform) == [1] * 5

    def test_two_are_closed_like_one_and_many(self, platform: Platform) -> None:
        cache = platform.cache()
        for _ in range(2):
            cache.lease(self.on(platform, "blue")).release()
        cache.drop_cluster("blue")
        assert closed(platform) == [1, 1]

    def test_who_connects_at_that_moment_does_not_stay_in_the_cache(
        self, platform: Platform
    ) -> None:
        cache, acme = platform.cache(), self.on(platform, "blue")
        platform.before_load = lambda: cache.drop_cluster("blue")
        cache.lease(acme).release()
        assert closed(platform) == [1]

    def test_many_are_closed_at_once(self, platform: Platform) -> None:
        """Each may take a second."""
        cache, together = platform.cache(size=100), threading.Barrier(CLOSERS, timeout=20)
        for _ in range(CLOSERS):
            cache.lease(self.on(platform, "blue")).release()
        ended: list[int] = []
        for client in platform.clients:
            client.close = lambda: ended.append(together.wait())  # type: ignore[method-assign]
        cache.drop_cluster("blue")
        assert len(ended) == CLOSERS
        assert cache.stats()["clients"] == 0


def test_every_record_is_read_again_when_all_may_have_changed(platform: Platform) -> None:
    cache, tenants = platform.cache(), [platform.add(name) for name in "ab"]
    for tenant in tenants:
        cache.lease(tenant).release()
    cache.forget_all()
    for tenant in tenants:
        cache.lease(tenant).release()
    assert platform.looked_up == tenants * 2
    assert len(platform.clients) == 2
    assert cache.stats()["rechecks"] == 2


class TestRoom:
    def test_a_clusters_client_takes_its_room_for_as_long_as_it_is_being_opened(
        self, platform: Platform
    ) -> None:
        cache = platform.cache(room=lambda: 10)
        acme, globex = platform.add("acme"), platform.add("globex")
        for _ in range(2):
            with cache.room_for(5), cache.lease(acme), pytest.raises(DatabaseUnavailable):
                cache.lease(globex)
        with cache.lease(acme), cache.lease(globex):
            pass

    def test_rooms_add_up_and_end_one_by_one(self, platform: Platform) -> None:
        cache, acme = platform.cache(room=lambda: 10), platform.add()
        with cache.room_for(4):
            with cache.room_for(3):
                pass
            with cache.room_for(4), pytest.raises(DatabaseUnavailable):
                cache.lease(acme)
            cache.lease(acme).release()

    def test_idle_clients_make_way_for_it_and_what_does_not_fit_is_refused(
        self, platform: Platform
    ) -> None:
        cache, acme = platform.cache(room=lambda: 10), platform.add()
        cache.lease(acme).release()
        with cache.room_for(6):
            assert closed(platform) == [1]
        with pytest.raises(DatabaseUnavailable, match="in use"), cache.room_for(11):
            pytest.fail("there is no room")
        cache.lease(acme).release()

    def test_a_tenant_that_takes_the_room_of_its_old_client_evicts_nobody(
        self, platform: Platform
    ) -> None:
        cache, acme = platform.cache(room=lambda: 5), platform.add()
        cache.lease(acme).release()
        platform.tenants[acme] = replace(platform.tenants[acme], credentials={"nonce": "new"})
        cache.forget(acme)
        cache.lease(acme).release()
        assert closed(platform) == [1, 0]
        assert cache.stats()["evictions"] == 0


def test_the_clients_of_single_tenants_are_listed_by_their_last_use(platform: Platform) -> None:
    cache, acme, globex = platform.cache(), platform.add("acme"), platform.add("globex")
    cache.lease(acme).release()
    with cache.lease(globex), cache.lease(globex):
        opened = [cast(Any, client) for client in platform.clients]
        assert cache.own_clients() == [
            OwnClient(acme, "default", opened[0], 0),
            OwnClient(globex, "default", opened[1], 2),
        ]


def test_every_lease_is_counted_as_what_it_was(platform: Platform) -> None:
    cache = platform.cache(size=2, room=lambda: 10)
    acme, globex, initech = (platform.add(name) for name in ("acme", "globex", "initech"))
    for tenant in (acme, acme, acme, globex):
        cache.lease(tenant).release()
    for _ in range(2):
        cache.forget(globex)
        cache.lease(globex).release()
    for tenant in (initech, acme):
        cache.lease(tenant).release()
    assert cache.stats() == {
        "size": 2,
        "capacity": 2,
        "leases": 0,
        "clients": 2,
        "hits": 2,
        "misses": 4,
        "rechecks": 2,
        "evictions": 2,
    }


def test_who_joins_a_look_up_counts_as_a_hit(platform: Platform) -> None:
    cache = platform.cache()

    def join(tenant: ObjectId) -> None:
        go_on = threading.Event()
        platform.before_load = lambda: cast(None, go_on.wait(20))
        leases = [start(cache.lease, tenant)]
        eventually(lambda: tenant in platform.looked_up)
        leases += [start(cache.lease, tenant) for _ in range(2)]
        eventually(lambda: cache._flights[tenant].waiters == 2)
        go_on.set()
        for lease in leases:
            lease.result(20).release()

    join(platform.add("acme"))
    join(platform.add("globex"))
    assert (cache.stats()["misses"], cache.stats()["hits"]) == (2, 4)


@pytest.mark.parametrize(("later", "clients"), [(10.0, 1), (10.1, 2)])
@pytest.mark.parametrize("forgotten", [True, False])
def test_an_entry_is_good_for_exactly_its_time(
    platform: Platform, later: float, clients: int, forgotten: bool
) -> None:
    cache, acme = platform.cache(seconds=10, stale_seconds=100), platform.add()
    cache.lease(acme).release()
    platform.now += later
    if forgotten:
        cache.forget(acme)
    cache.lease(acme).release()
    assert len(platform.clients) == clients
    assert cache.stats()["hits"] == (clients == 1 and not forgotten)
    assert cache.stats()["evictions"] == 0


def test_a_client_is_idle_only_after_its_time(platform: Platform) -> None:
    cache = platform.cache(idle_seconds=60, stale_seconds=1000, seconds=1000)
    cache.lease(platform.add()).release()
    platform.now += 60
    cache.close_idle()
    assert closed(platform) == [0]


def test_who_waited_for_a_thread_that_was_ended_is_told_to_try_again(platform: Platform) -> None:
    """What ends that thread does not end the others."""
    cache, acme = platform.cache(), platform.add()
    go_on = threading.Event()

    def end() -> None:
        go_on.wait(20)
        raise KeyboardInterrupt

    platform.before_load = end
    leader = start(cache.lease, acme)
    eventually(lambda: acme in platform.looked_up)
    waiting = start(cache.lease, acme)
    eventually(lambda: cache._flights[acme].waiters)
    go_on.set()
    assert isinstance(leader.exception(20), KeyboardInterrupt)
    assert isinstance(waiting.exception(20), DatabaseUnavailable)


def test_an_unknown_tenant_is_told_that_it_is_gone(platform: Platform) -> None:
    with pytest.raises(TokenRevoked, match="no longer exists"):
        platform.cache().lease(ObjectId())


class TestClosing:
    def test_new_leases_are_told_to_try_elsewhere(self, platform: Platform) -> None:
        cache, acme = platform.cache(), platform.add()
        cache.close(0)
        with pytest.raises(DatabaseUnavailable, match="shutting down") as refused:
            cache.lease(acme)
        assert refused.value.retry_after == 1

    def test_it_waits_for_every_look_up_under_way(self, platform: Platform) -> None:
        cache, tenants = platform.cache(), [platform.add(name) for name in "ab"]
        go_on = {tenant: threading.Event() for tenant in tenants}
        held: list[ObjectId] = []

        def hold() -> None:
            tenant = platform.looked_up[-1]
            held.append(tenant)
            go_on[tenant].wait(20)

        platform.before_load = hold
        leases = []
        for tenant in tenants:
            leases.append(start(cache.lease, tenant))
            eventually(lambda: len(held) == len(leases))
        assert held == tenants
        go_on[tenants[0]].set()
        leases[0].result(20).release()
        assert cache.close(0) is False
        closing = start(cache.close, 20)
        go_on[tenants[1]].set()
        leases[1].result(20).release()
        assert closing.result(30) is True

    def test_a_hold_on_a_clusters_client_ends_with_the_last_lease(self) -> None:
        cache, given_back = _cache_of_holds()
        lease = cache.lease(ObjectId())
        assert cache.close(0) is False
        assert given_back == []
        lease.release()
        assert len(given_back) == 1


def _cache_of_holds() -> tuple[TenantCache, list[Any]]:
    """A cache of shared tenants, and the holds on their cluster's client that were given back."""
    given_back: list[Any] = []
    shared: Any = type("Shared", (), {"opened": type("Opened", (), {"client": 1, "line": None})})

    class Shared(Platform):
        def connect(self, tenant: Tenant) -> Connection:
            return Connection(cast(Any, "database"), hold=Hold(shared, given_back.append))

        def load(self, tenant_id: ObjectId) -> Tenant | None:
            return Tenant(tenant_id, "a", None, (), "a", "blue", "shared", "active", False)

    return Shared().cache(), given_back
