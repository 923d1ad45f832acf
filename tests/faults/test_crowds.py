"""More tenants than the cache holds, more dedicated ones than there are sockets for, more requests
than can be worked on: everybody is answered, the bounds hold, and afterwards it is as before."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest

from multitenant.embedded import EmbeddedServer
from tests.conftest import leakless_worlds, own_environment
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.faults.budget import LONG, seconds
from tests.faults.workers import held_by, needs_proc, workers_of
from tests.support import User, World

Work = Callable[[httpx.AsyncClient], Awaitable[None]]

CACHED = 4
TENANTS = 40 if LONG else 10
DEDICATED = 10 if LONG else 3
POOL = 4
BUDGET = POOL + 2 + 2 * 5
"""Sockets for the cluster's client, and for two dedicated tenants."""
PATIENCE = 120
ORDER = {"items": [{"name": "Anvil", "quantity": 1, "price": "1.50"}]}

pytestmark = [needs_proc, pytest.mark.slow]


class Crowd:
    """A server with little of everything, and the owners of tenants, who ask it at once."""

    def __init__(self, server: Server, world: World) -> None:
        self._server = server
        self._operator = world.operator
        self.shared = [world.tenant(f"S{number}") for number in range(TENANTS)]
        self.dedicated = [world.tenant(f"D{n}", isolation="dedicated") for n in range(DEDICATED)]
        (self.worker,) = workers_of(server)

    def run(self, work: Work) -> None:
        """Run it, with a client that opens as many connections as it has requests."""

        async def main() -> None:
            limits = httpx.Limits(max_connections=None)
            async with httpx.AsyncClient(
                base_url=self._server.url, timeout=PATIENCE, limits=limits
            ) as client:
                await work(client)

        asyncio.run(main())

    async def me(self, client: httpx.AsyncClient, user: User) -> httpx.Response:
        """Ask who the user is; an answer must be about them."""
        answered = await client.get("/api/users/me", headers=bearer(user))
        if answered.status_code == 200:
            assert answered.json()["responseObject"]["id"] == user.user_id, "somebody else's answer"
        return answered

    async def report(self, client: httpx.AsyncClient) -> Any:
        """What the worker says of its connections, after checking that it is within bounds."""
        answered = await client.get("/api/connections", headers=bearer(self._operator))
        report = answered.json()["responseObject"]
        assert report["cache"]["size"] <= CACHED
        assert report["sockets"]["limit"] <= BUDGET
        assert report["sockets"]["open"] <= BUDGET
        return report

    def ensure_recovered(self) -> None:
        """Everybody is served, and no lease is out but that of who looks."""

        async def look(client: httpx.AsyncClient) -> None:
            for user in (*self.shared, *self.dedicated):
                assert (await self.me(client, user)).status_code == 200
            assert (await self.report(client))["leases"] == 1

        self.run(look)


def bearer(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {user.access}"}


@pytest.fixture(scope="module")
def crowd(
    mongod: EmbeddedServer, mongo: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crowd]:
    directory = tmp_path_factory.mktemp("crowds")
    with (
        own_environment(mongod, mongo, directory) as environment,
        leakless_worlds(environment) as make,
    ):
        changed = environment | {
            "WORKERS": "1",
            "WORKER_CLASS": "gevent",
            "TENANT_CACHE_SIZE": str(CACHED),
            "MAX_POOL_SIZE": str(POOL),
            "CONNECTION_BUDGET": str(BUDGET),
            "TENANT_MAX_CONCURRENCY": "",  # half of what is worked on at a time
            "OPERATION_TIMEOUT_MS": "60000",
        }
        world = make()
        with Server(MULTITENANT_RUN, changed, directory) as server:
            crowd = Crowd(server.wait_until_ready(), world)
            crowd.ensure_recovered()
            held = held_by(crowd.worker)
            yield crowd
            after = held_by(crowd.worker)
            assert after.mib < held.mib + 64
            assert after.threads <= held.threads + 2
            assert after.descriptors <= held.descriptors + BUDGET
            assert '"status":500' not in server.log


def test_more_tenants_than_the_cache_holds_are_all_answered(crowd: Crowd) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        before = await crowd.report(client)
        until = time.monotonic() + seconds(1)
        while True:
            everybody = [crowd.me(client, user) for user in crowd.shared]
            answered = await asyncio.gather(*everybody, crowd.report(client))
            assert {response.status_code for response in answered[:-1]} == {200}
            if time.monotonic() > until:
                break
        after = await crowd.report(client)
        assert after["cache"]["evictions"] >= before["cache"]["evictions"] + TENANTS - CACHED

    crowd.run(ask)
    crowd.ensure_recovered()


def test_more_dedicated_tenants_than_there_are_sockets_for_come_in_turn_or_later(
    crowd: Crowd,
) -> None:
    async def ask(client: httpx.AsyncClient) -> None:
        until = time.monotonic() + seconds(1)
        while True:
            everybody = [crowd.me(client, user) for user in crowd.dedicated * 3]
            *answered, _ = await asyncio.gather(*everybody, crowd.report(client))
            statuses = {response.status_code for response in answered}
            assert 200 in statuses
            assert statuses <= {200, 429, 503}
            for response in answered:
                if response.status_code != 200:
                    code = response.json()["responseObject"]["code"]
                    assert code in ("tenant_busy", "database_unavailable")
                    assert int(response.headers["Retry-After"]) > 0
            if time.monotonic() > until:
                break

    crowd.run(ask)
    crowd.ensure_recovered()


def test_more_requests_than_are_worked_on_wait_and_none_for_each_other(crowd: Crowd) -> None:
    """Orders are transactions, so they use a connection again and again until they end."""

    async def order(client: httpx.AsyncClient, user: User) -> int:
        answered = await client.post("/api/orders", json=ORDER, headers=bearer(user))
        return answered.status_code

    async def ask(client: httpx.AsyncClient) -> None:
        until = time.monotonic() + seconds(1)
        while True:
            orders = [order(client, user) for user in crowd.shared * 2]
            assert set(await asyncio.gather(*orders)) == {201}
            if time.monotonic() > until:
                break

    crowd.run(ask)
    crowd.ensure_recovered()


def test_a_tenant_that_asks_for_everything_at_once_is_told_to_wait_and_others_are_not(
    crowd: Crowd,
) -> None:
    greedy, *others = crowd.shared

    async def ask(client: httpx.AsyncClient) -> None:
        wanted = [crowd.me(client, greedy) for _ in range(100)]
        modest = [crowd.me(client, user) for user in others]
        answered = await asyncio.gather(*wanted, *modest)
        assert {response.status_code for response in answered[100:]} == {200}
        refused = [response for response in answered[:100] if response.status_code != 200]
        for response in refused:
            assert response.json()["responseObject"]["code"] == "tenant_busy"
            assert response.headers["Retry-After"] == "1"
        assert len(refused) < 100

    crowd.run(ask)
    crowd.ensure_recovered()
