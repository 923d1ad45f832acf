"""Who joins the look-up of a tenant whose client is being opened, and is refused, holds nothing."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from multitenant.errors import DatabaseUnavailable
from multitenant.tenancy.routing.placement import Connection
from multitenant.tenancy.routing.tenant import Tenant
from tests.unit.test_tenant_cache import Platform


class SlowToOpen(Platform):
    """A platform whose clients are opened when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.opening = threading.Event()
        self.may_open = threading.Event()

    def connect(self, tenant: Tenant) -> Connection:
        self.opening.set()
        self.may_open.wait()
        return super().connect(tenant)


@pytest.mark.parametrize("refused_late", [False, True])
def test_a_refused_joiner_holds_no_lease(refused_late: bool) -> None:
    platform, asked = SlowToOpen(), []
    landed = threading.Event()

    @contextmanager
    def waiting(tenant: Tenant) -> Iterator[None]:
        asked.append(tenant.id)
        if len(asked) == 1:  # who opens the client
            yield
            return
        if refused_late:
            platform.may_open.set()
            landed.wait()
        raise DatabaseUnavailable

    cache = platform.cache(waiting=waiting)
    tenant_id = platform.add()
    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(cache.lease, tenant_id)
        platform.opening.wait()
        joiner = pool.submit(cache.lease, tenant_id)
        if refused_late:
            lease = leader.result()
            landed.set()
        assert isinstance(joiner.exception(), DatabaseUnavailable)
        platform.may_open.set()
        lease = leader.result()
    assert asked == [tenant_id] * 2
    assert cache.stats()["leases"] == 1
    lease.release()
    assert cache.stats()["leases"] == 0
    assert cache.close(timeout=0)
    assert [client.closed for client in platform.clients] == [1]
