"""The tenant cache: leases, eviction, single flight, staleness. Clients are fakes; time is ours."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, cast

import pytest
from bson import ObjectId

from multitenant.errors import DatabaseUnavailable, TokenRevoked
from multitenant.tenancy.routing.leases import Lease
from multitenant.tenancy.routing.placement import Connection, CredentialsRefused
from multitenant.tenancy.routing.tenant import Tenant
from multitenant.tenancy.routing.tenant_cache import TenantCache


class FakeClient:
    """An OpenedClient without a server."""

    limit = 5

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


class Platform:
    """Tenants to look up, and every client that was opened for one."""

    def __init__(self) -> None:
        self.tenants: dict[ObjectId, Tenant] = {}
        self.looked_up: list[ObjectId] = []
        self.clients: list[FakeClient] = []
        self.now = 0.0
        self.before_load: Callable[[], None] = lambda: None

    def add(self, name: str = "acme") -> ObjectId:
        tenant_id = ObjectId()
        self.tenants[tenant_id] = Tenant(
            tenant_id, name, None, (), f"tenant_{name}", "default", "shared", "active", False
        )
        return tenant_id

    def load(self, tenant_id: ObjectId) -> Tenant | None:
        self.looked_up.append(tenant_id)
        found = self.tenants.get(tenant_id)
        self.before_load()
        return found

    def connect(self, tenant: Tenant) -> Connection:
        client = FakeClient()
        self.clients.append(client)
        return Connection(cast(Any, f"database of {tenant.name}"), cast(Any, client))

    def sockets(self, _: Tenant) -> int:
        return FakeClient.limit

    def cache(
        self,
        size: int = 10,
        seconds: float = 100,
        stale_seconds: float = 1,
        **options: Any,
    ) -> TenantCache:
        return TenantCache(
            self.load,
            self,
            size=size,
            seconds=seconds,
            stale_seconds=stale_seconds,
            clock=lambda: self.now,
            **options,
        )


@pytest.fixture
def platform() -> Platform:
    return Platform()


def test_the_second_lease_is_a_hit_on_the_same_client(platform: Platform) -> None:
    cache, acme = platform.cache(), platform.add()

    with cache.lease(acme) as first, cache.lease(acme) as second:
        assert first.database is second.database

    stats = cache.stats()
    assert (stats["misses"], stats["hits"], stats["leases"]) == (1, 1, 0)
    assert len(platform.looked_up) == len(platform.clients) == 1


def test_an_unknown_tenant_is_refused_and_not_remembered(platform: Platform) -> None:
    cache, unknown = platform.cache(), ObjectId()
    for _ in range(2):
        with pytest.raises(TokenRevoked):
            cache.lease(unknown)
    assert len(platform.looked_up) == 2
    assert cache.stats()["leases"] == 0


def test_an_evicted_client_closes_only_when_its_last_lease_is_given_back(
    platform: Platform,
) -> None:
    cache = platform.cache(size=1)
    first, second = cache.lease(platform.add("a")), cache.lease(platform.add("b"))

    assert cache.stats()["evictions"] == 1
    assert platform.clients[0].closed == 0, "evicted under a request"
    again = first
    again.release()
    assert platform.clients[0].closed == 1
    assert platform.clients[1].closed == 0
    second.release()
    assert platform.clients[1].closed == 0, "still cached"


def test_an_idle_client_closes_when_it_is_evicted(platform: Platform) -> None:
    cache = platform.cache(size=1)
    cache.lease(platform.add("a")).release()
    cache.lease(platform.add("b")).release()

    assert [client.closed for client in platform.clients] == [1, 0]
    assert cache.stats()["clients"] == 1


def test_the_least_recently_used_tenant_is_evicted(platform: Platform) -> None:
    cache = platform.cache(size=2)
    a, b, c = (platform.add(name) for name in "abc")
    for tenant_id in (a, b, a, c):
        cache.lease(tenant_id).release()

    cache.lease(a).release()
    assert platform.looked_up.count(a) == 1
    cache.lease(b).release()
    assert platform.looked_up.count(b) == 2


def test_releasing_twice_gives_back_one_lease(platform: Platform) -> None:
    cache, acme = platform.cache(), platform.add()
    first, second = cache.lease(acme), cache.lease(acme)
    first.release()
    first.release()
    assert cache.stats()["leases"] == 1
    second.release()


def test_a_lease_that_was_given_back_leads_nowhere(platform: Platform) -> None:
    lease = platform.cache().lease(platform.add())
    lease.release()
    with pytest.raises(RuntimeError):
        _ = lease.database


def _lease_in_threads(cache: TenantCache, tenant_id: ObjectId, count: int) -> list[Lease]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: cache.lease(tenant_id), range(count)))


def test_a_hundred_first_leases_cause_one_look_up_and_one_client(platform: Platform) -> None:
    cache, acme = platform.cache(), platform.add()
    platform.before_load = lambda: time.sleep(0.3)

    leases = _lease_in_threads(cache, acme, 100)

    assert len(platform.looked_up) == len(platform.clients) == 1
    assert cache.stats()["leases"] == 100
    for lease in leases:
        lease.release()
    assert cache.stats()["leases"] == 0


def test_a_failed_look_up_fails_everybody_who_waited_and_is_tried_again(platform: Platform) -> None:
    cache, acme = platform.cache(), platform.add()
    waiting = threading.Event()

    def fail() -> None:
        waiting.wait(0.2)
        raise DatabaseUnavailable

    platform.before_load = fail

    def try_lease(_: int) -> bool:
        try:
            cache.lease(acme)
        except DatabaseUnavailable:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(try_lease, range(8)))
    assert cache.stats()["leases"] == 0
    platform.before_load = lambda: None
    cache.lease(acme).release()


def test_a_stale_entry_is_read_again_before_use_and_keeps_its_client(platform: Platform) -> None:
    cache, acme = platform.cache(stale_seconds=1), platform.add()
    cache.lease(acme).release()
    platform.tenants[acme] = replace(platform.tenants[acme], status="suspended")

    platform.now = 1.0
    with cache.lease(acme) as lease:
        assert lease.tenant.status == "active", "not stale yet"
    platform.now = 1.1
    with cache.lease(acme) as lease:
        assert lease.tenant.status == "suspended"

    assert len(platform.clients) == 1
    assert cache.stats()["rechecks"] == 1


def test_a_stale_entry_is_not_used_when_its_record_cannot_be_read(platform: Platform) -> None:
    cache, acme = platform.cache(stale_seconds=1), platform.add()
    cache.lease(acme).release()
    platform.now = 2.0

    def fail() -> None:
        raise DatabaseUnavailable

    platform.before_load = fail
    for _ in range(2):
        with pytest.raises(DatabaseUnavailable):
            cache.lease(acme)
    assert cache.stats()["leases"] == 0
    platform.before_load = lambda: None
    cache.lease(acme).release()
    assert len(platform.clients) == 1, "the client was good all the time"


def test_a_stale_entry_of_a_tenant_that_is_gone_leaves_the_cache(platform: Platform) -> None:
    cache, acme = platform.cache(stale_seconds=1), platform.add()
    cache.lease(acme).release()
    del platform.tenants[acme]
    platform.now = 2.0

    with pytest.raises(TokenRevoked):
        cache.lease(acme)

    assert platform.clients[0].closed == 1
    assert cache.stats()["size"] == cache.stats()["clients"] == 0


def test_a_tenant_that_moved_gets_a_new_client_and_the_old_one_ends_with_its_last_lease(
    platform: Platform,
) -> None:
    cache, acme = platform.cache(), platform.add()
    before = cache.lease(acme)
    platform.tenants[acme] = replace(platform.tenants[acme], db_name="tenant_elsewhere")
    cache.forget(acme)

    after = cache.lease(acme)

    assert len(platform.clients) == 2
    assert platform.clients[0].closed == 0
    before.release()
    assert [client.closed for client in platform.clients] == [1, 0]
    after.release()


def test_an_entry_past_its_time_to_live_is_looked_up_anew(platform: Platform) -> None:
    cache, acme = platform.cache(seconds=10, stale_seconds=100), platform.add()
    cache.lease(acme).release()
    platform.now = 10.1
    cache.lease(acme).release()

    assert len(platform.clients) == 2
    assert [client.closed for client in platform.clients] == [1, 0]


def test_forgetting_during_a_look_up_does_not_let_the_old_record_into_the_cache(
    platform: Platform,
) -> None:
    """Once a suspension has answered, nobody may be served from a record read before it."""
    cache, acme = platform.cache(), platform.add()
    loading, suspended = threading.Event(), threading.Event()

    def wait() -> None:
        loading.set()
        suspended.wait(5)

    platform.before_load = wait  # the old record has been read by now
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(cache.lease, acme)
        loading.wait(5)
        platform.tenants[acme] = replace(platform.tenants[acme], status="suspended")
        cache.forget(acme)
        platform.before_load = lambda: None
        with cache.lease(acme) as late:
            assert late.tenant.status == "suspended"
        suspended.set()
        assert early.result().tenant.status == "active", "it asked before the suspension"
        early.result().release()

    with cache.lease(acme) as later:
        assert later.tenant.status == "suspended"
    assert sorted(client.closed for client in platform.clients) == [0, 1]


def test_closing_waits_for_leases_refuses_new_ones_and_closes_every_client(
    platform: Platform,
) -> None:
    cache = platform.cache(size=1)
    evicted, cached = cache.lease(platform.add("a")), cache.lease(platform.add("b"))
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(cache.close, 5)
        while not cache._closing:
            pass
        with pytest.raises(DatabaseUnavailable):
            cache.lease(platform.add("c"))
        assert not closing.done()
        assert [client.closed for client in platform.clients] == [0, 0]
        evicted.release()
        assert not closing.done()
        cached.release()
        assert closing.result() is True
    assert all(client.closed for client in platform.clients)
    assert cache.close(0) is True, "closing again is fine"


def test_closing_gives_up_waiting_after_its_bound(platform: Platform) -> None:
    cache = platform.cache()
    lease = cache.lease(platform.add())
    assert cache.close(0.05) is False
    assert platform.clients[0].closed == 1
    lease.release()
    assert cache.stats()["leases"] == cache.stats()["clients"] == 0


def test_hammering_a_small_cache_leaves_no_lease_and_no_client_behind(platform: Platform) -> None:
    cache = platform.cache(size=2)
    tenants = [platform.add(str(number)) for number in range(8)]

    def work(seed: int) -> int:
        used_closed = 0
        for step in range(300):
            with cache.lease(tenants[(seed * 7 + step * 3) % 8]) as lease:
                entry = lease._entry
                assert entry is not None
                client = cast(Any, entry.connection.own)
                used_closed += client.closed
                if step % 50 == 0:
                    cache.forget(tenants[step % 8])
        return used_closed

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(work, range(16))) == 0, "a leased client was closed"

    stats = cache.stats()
    assert stats["leases"] == 0
    assert stats["clients"] == stats["size"] == 2
    assert stats["evictions"] > 100
    assert sum(client.closed == 0 for client in platform.clients) == 2
    assert all(client.closed <= 1 for client in platform.clients)


def _during_a_look_up(
    platform: Platform, cache: TenantCache, acme: ObjectId, then: Callable[[], None]
) -> Lease:
    """Take a lease, and do something else after its record was read."""
    loading, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        loading.set()
        go_on.wait(5)

    platform.before_load = wait
    with ThreadPoolExecutor(1) as pool:
        lease = pool.submit(cache.lease, acme)
        loading.wait(5)
        platform.before_load = lambda: None
        then()
        go_on.set()
        return lease.result()


def test_nobody_joins_a_look_up_that_has_taken_too_long(platform: Platform) -> None:
    cache, acme = platform.cache(stale_seconds=1), platform.add()

    def ask_later() -> None:
        platform.tenants[acme] = replace(platform.tenants[acme], status="suspended")
        platform.now = 1.1
        with cache.lease(acme) as late:
            assert late.tenant.status == "suspended"

    _during_a_look_up(platform, cache, acme, ask_later).release()
    with cache.lease(acme) as lease:
        assert lease.tenant.status == "suspended"
    assert cache.stats()["leases"] == 0


def test_closing_waits_for_a_look_up_under_way(platform: Platform) -> None:
    cache, acme = platform.cache(), platform.add()
    closing: list[Future[bool]] = []
    with ThreadPoolExecutor(1) as pool:

        def close() -> None:
            closing.append(pool.submit(cache.close, 5))
            while not cache._closing:
                pass
            time.sleep(0.05)
            assert not closing[0].done()

        lease = _during_a_look_up(platform, cache, acme, close)
        assert platform.clients[0].closed == 0
        lease.release()
        assert closing[0].result() is True
    assert platform.clients[0].closed == 1


class TestBudget:
    """Clients of single tenants share a number of sockets; each takes five here."""

    def test_the_least_recently_used_idle_client_makes_room(self, platform: Platform) -> None:
        cache = platform.cache(room=lambda: 10)
        acme, globex, initech = (platform.add(name) for name in ("acme", "globex", "initech"))
        for tenant in (acme, globex, acme, initech):
            cache.lease(tenant).release()
        assert [client.closed for client in platform.clients] == [0, 1, 0]
        assert cache.stats()["clients"] == 2
        assert cache.stats()["evictions"] == 1

    def test_a_leased_client_is_not_closed_and_the_next_one_is_refused(
        self, platform: Platform
    ) -> None:
        cache = platform.cache(room=lambda: 10)
        acme, globex, initech = (platform.add(name) for name in ("acme", "globex", "initech"))
        with cache.lease(acme), cache.lease(globex):
            with pytest.raises(DatabaseUnavailable, match="in use"):
                cache.lease(initech)
            assert len(platform.clients) == 2
            cache.lease(acme).release()
        cache.lease(initech).release()
        assert [client.closed for client in platform.clients] == [0, 1, 0]

    def test_a_client_that_left_the_cache_counts_until_it_is_closed(
        self, platform: Platform
    ) -> None:
        cache = platform.cache(room=lambda: 10)
        acme, globex, initech = (platform.add(name) for name in ("acme", "globex", "initech"))
        with cache.lease(acme):
            cache._drop(acme)
            cache.lease(globex).release()
            cache.lease(initech).release()  # globex makes room, acme's client is in use
            assert [client.closed for client in platform.clients] == [0, 1, 0]
        assert [client.closed for client in platform.clients] == [1, 1, 0]

    def test_many_at_once_never_exceed_it_and_none_is_refused_for_idle_ones(
        self, platform: Platform
    ) -> None:
        cache = platform.cache(room=lambda: 30, size=100)
        tenants = [platform.add(str(number)) for number in range(12)]
        most = []

        def work(seed: int) -> int:
            refused = 0
            for step in range(200):
                try:
                    with cache.lease(tenants[(seed * 5 + step) % 12]):
                        most.append(cache.stats()["clients"])
                except DatabaseUnavailable:
                    refused += 1
            return refused

        with ThreadPoolExecutor(4) as pool:  # at most 4 in use, and 2 more on their way out
            assert sum(pool.map(work, range(4))) == 0
        assert max(most) <= 6
        assert sum(client.closed == 0 for client in platform.clients) == cache.stats()["clients"]

    def test_what_fails_to_connect_leaves_its_room(
        self, platform: Platform, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = platform.cache(room=lambda: 5)
        acme = platform.add()

        def fail(_: Tenant) -> Connection:
            raise DatabaseUnavailable("no")

        connect = platform.connect
        monkeypatch.setattr(platform, "connect", fail)
        for _ in range(3):
            with pytest.raises(DatabaseUnavailable, match="no"):
                cache.lease(acme)
        monkeypatch.setattr(platform, "connect", connect)
        cache.lease(acme).release()

    def test_a_changed_tenant_takes_the_room_of_its_old_client(self, platform: Platform) -> None:
        """There is room for one client only, and it is replaced."""
        cache = platform.cache(room=lambda: 5, stale_seconds=1)
        acme = platform.add()
        cache.lease(acme).release()
        platform.tenants[acme] = replace(platform.tenants[acme], credentials={"nonce": "new"})
        platform.now = 2
        cache.lease(acme).release()
        assert [client.closed for client in platform.clients] == [1, 0]


def test_a_client_that_nobody_uses_is_closed_after_a_while(platform: Platform) -> None:
    cache = platform.cache(idle_seconds=60, stale_seconds=1000, seconds=1000)
    acme, globex = platform.add("acme"), platform.add("globex")
    cache.lease(acme).release()
    lease = cache.lease(globex)
    platform.now = 59
    cache.close_idle()
    assert [client.closed for client in platform.clients] == [0, 0]
    platform.now = 61
    cache.close_idle()
    assert [client.closed for client in platform.clients] == [1, 0], "one is leased"
    lease.release()
    cache.lease(acme).release()
    assert len(platform.clients) == 3, "it is opened again when it is needed"


def test_a_changed_tenants_client_is_closed_soon_when_nobody_asks_for_it_again(
    platform: Platform,
) -> None:
    """Its credentials may be on their way out, and the server sees who is still connected."""
    cache, acme = platform.cache(idle_seconds=1000), platform.add()
    first, second = cache.lease(acme), cache.lease(acme)
    cache.forget(acme)
    for lease in (first, second):
        cache.close_idle()
        assert platform.clients[0].closed == 0
        lease.release()
    cache.close_idle()
    assert platform.clients[0].closed == 1


def test_a_change_that_concerns_no_connection_keeps_the_client(platform: Platform) -> None:
    cache, acme = platform.cache(), platform.add()
    cache.lease(acme).release()
    platform.tenants[acme] = replace(platform.tenants[acme], name="renamed")
    cache.forget(acme)
    with cache.lease(acme) as lease:
        assert lease.tenant.name == "renamed"
    assert len(platform.clients) == 1


def test_a_new_client_waits_a_moment_for_room(platform: Platform) -> None:
    cache = platform.cache(room=lambda: 5)
    acme, globex = platform.add("acme"), platform.add("globex")
    held = cache.lease(acme)
    timer = threading.Timer(0.2, held.release)
    timer.start()
    cache.lease(globex).release()
    timer.join()
    assert [client.closed for client in platform.clients] == [1, 0]


def test_credentials_that_were_replaced_just_now_are_read_again(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, acme = platform.cache(), platform.add()
    connect = platform.connect

    def refuse_old(tenant: Tenant) -> Connection:
        if tenant.credentials is None:
            platform.tenants[acme] = replace(tenant, credentials={"nonce": "new"})
            raise CredentialsRefused
        return connect(tenant)

    monkeypatch.setattr(platform, "connect", refuse_old)
    with cache.lease(acme) as lease:
        assert lease.tenant.credentials == {"nonce": "new"}
    assert len(platform.looked_up) == 2


def test_credentials_that_stay_wrong_make_the_tenant_unavailable(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Tenant) -> Connection:
        raise CredentialsRefused

    monkeypatch.setattr(platform, "connect", refuse)
    cache, acme = platform.cache(), platform.add()
    with pytest.raises(DatabaseUnavailable, match="credentials"):
        cache.lease(acme)
    assert len(platform.looked_up) == 3
    assert cache.stats()["leases"] == 0
