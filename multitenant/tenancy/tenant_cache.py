"""The tenants that this process is serving: cached, leased, and looked up once.

An entry is *leased* for the length of a request. Leaving the cache (by age, eviction, or because
the tenant changed) does not touch the leases: a client that exists for one tenant alone is closed
when the last lease of its entry is given back.

One lock guards everything; nothing slow happens under it. `lru-dict` has no lock of its own and
its callback must not let other threads run, so the callback only notes what was evicted.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bson import ObjectId
from lru import LRU

from multitenant.errors import DatabaseUnavailable, TokenRevoked
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.placement import Client, Connection
from multitenant.tenancy.recent_answers import Vouches, nobody_vouches
from multitenant.tenancy.tenant import Tenant

LoadTenant = Callable[[ObjectId], Tenant | None]
Connect = Callable[[Tenant], Connection]

NEVER = float("-inf")


@dataclass(slots=True, eq=False)
class _Entry:
    tenant: Tenant
    connection: Connection
    loaded_at: float
    checked_at: float
    leases: int = 0
    cached: bool = False


@dataclass(slots=True, eq=False)
class _Flight:
    """A look-up under way, and those who wait for its result."""

    asked_at: float
    waiters: int = 0
    entry: _Entry | None = None
    tenant: Tenant | None = None
    error: BaseException | None = None
    landed: threading.Event = field(default_factory=threading.Event)


class Lease:
    """The right to use a tenant's database until `release()`; also a context manager."""

    __slots__ = ("_cache", "_entry", "tenant")

    def __init__(self, cache: "TenantCache", entry: _Entry, tenant: Tenant) -> None:
        self._cache = cache
        self._entry: _Entry | None = entry
        self.tenant = tenant

    @property
    def database(self) -> MongoDatabase:
        """The tenant's database; raises RuntimeError once the lease was given back."""
        if self._entry is None:
            raise RuntimeError("This lease was given back")
        return self._entry.connection.database

    def release(self) -> None:
        """Give the lease back. Doing it again does nothing."""
        entry, self._entry = self._entry, None
        if entry is not None:
            self._cache.give_back(entry)

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class TenantCache:
    """At most `size` tenants, each looked up again after `seconds`, and its record read again
    once it is older than `stale_seconds` and nobody vouches for it: if that fails the tenant is
    not served."""

    def __init__(
        self,
        load: LoadTenant,
        connect: Connect,
        *,
        size: int,
        seconds: float,
        stale_seconds: float,
        vouches: Vouches = nobody_vouches,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._connect = connect
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        self._vouches = vouches
        self._clock = clock
        self._lock = threading.Condition()
        self._evicted: list[_Entry] = []
        self._entries: LRU[ObjectId, _Entry] = LRU(
            size, callback=lambda _, entry: self._evicted.append(entry)
        )
        self._flights: dict[ObjectId, _Flight] = {}
        # by identity: two MongoClients of one address are equal
        self._clients: dict[int, Client] = {}
        self._leases = 0
        self._flying = 0
        """Look-ups under way, those that were forgotten included."""
        self._hits = self._misses = self._rechecks = self._evictions = 0
        self._closing = False

    def lease(self, tenant_id: ObjectId) -> Lease:
        """Return a lease on the tenant, whatever its status.

        Raises TokenRevoked when there is no such tenant (only tokens lead here), and
        DatabaseUnavailable while the cache is closing.
        """
        with self._lock:
            if self._closing:
                raise DatabaseUnavailable("The server is shutting down", retry_after=1)
            entry = self._entries.get(tenant_id)
            if entry is not None and self._is_fresh(entry):
                self._hits += 1
                return self._grant(entry, entry.tenant)
            flight = self._flights.get(tenant_id)
            if joined := flight is not None and self._is_recent(flight.asked_at):
                flight.waiters += 1
            else:
                flight = self._flights[tenant_id] = _Flight(asked_at=self._clock())
                self._flying += 1
                if entry is not None:
                    entry.leases += 1  # so that its client outlives the check
                    self._leases += 1
        return self._await(flight) if joined else self._fly(tenant_id, flight, entry)

    def forget(self, tenant_id: ObjectId) -> None:
        """Make the next lease read the tenant's record, because it has changed."""
        with self._lock:
            self._flights.pop(tenant_id, None)  # what it reads may be from before the change
            entry = self._entries.get(tenant_id)
            if entry is not None:
                entry.checked_at = NEVER

    def forget_all(self) -> None:
        """Make the next lease of every tenant read its record."""
        with self._lock:
            self._flights.clear()
            for entry in self._entries.values():
                entry.checked_at = NEVER

    def stats(self) -> dict[str, int]:
        """Counts: what is cached, leased and open now; hits, misses and so on since the start."""
        with self._lock:
            return {
                "size": len(self._entries),
                "capacity": self._entries.get_size(),
                "leases": self._leases,
                "clients": len(self._clients),
                "hits": self._hits,
                "misses": self._misses,
                "rechecks": self._rechecks,
                "evictions": self._evictions,
            }

    def close(self, timeout: float) -> bool:
        """Refuse new leases, wait up to `timeout` seconds for the others (and for look-ups that
        are about to give some), close every client.

        Return whether all leases were given back. May be called again.
        """
        with self._lock:
            self._closing = True
            quiet = self._lock.wait_for(lambda: self._leases == self._flying == 0, timeout)
            for entry in self._entries.values():
                entry.cached = False
            self._entries.clear()
            clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            client.close()
        return quiet

    def _is_fresh(self, entry: _Entry) -> bool:
        return (
            self._is_recent(entry.checked_at) and self._clock() - entry.loaded_at <= self._seconds
        )

    def _is_recent(self, moment: float) -> bool:
        """Whether knowledge from that moment is good enough to serve a request on."""
        return self._clock() - moment <= self._stale_seconds or self._vouches(moment)

    def _grant(self, entry: _Entry, tenant: Tenant) -> Lease:
        entry.leases += 1
        self._leases += 1
        return Lease(self, entry, tenant)

    def _await(self, flight: _Flight) -> Lease:
        """Take the lease that the flight's leader granted on this thread's behalf."""
        flight.landed.wait()
        if flight.error is not None:
            raise flight.error
        assert flight.entry is not None
        assert flight.tenant is not None
        return Lease(self, flight.entry, flight.tenant)

    def _fly(self, tenant_id: ObjectId, flight: _Flight, old: _Entry | None) -> Lease:
        """Look the tenant up for this thread and all who joined the flight."""
        try:
            tenant = self._load(tenant_id)
            if tenant is None:
                raise TokenRevoked("The tenant of this token no longer exists")
            entry = self._renewed(old, tenant, flight.asked_at) or _Entry(
                tenant, self._connect(tenant), flight.asked_at, flight.asked_at
            )
        except BaseException as error:
            flight.error = error if isinstance(error, Exception) else DatabaseUnavailable()
            self._land(tenant_id, flight, old)
            raise
        flight.entry, flight.tenant = entry, tenant
        self._land(tenant_id, flight, old)
        return Lease(self, entry, tenant)

    def _renewed(self, old: _Entry | None, tenant: Tenant, asked_at: float) -> _Entry | None:
        """The old entry, if it is young enough and still leads to the right database."""
        if old is None or asked_at - old.loaded_at > self._seconds:
            return None
        return old if old.tenant.placement == tenant.placement else None

    def _land(self, tenant_id: ObjectId, flight: _Flight, old: _Entry | None) -> None:
        """Publish a flight's result: grant the leases, and cache the entry, unless the tenant was
        forgotten or the cache closed meanwhile."""
        with self._lock:
            self._flying -= 1
            current = self._flights.get(tenant_id) is flight
            if current:
                del self._flights[tenant_id]
            if flight.entry is not None:
                self._grant_all(flight, flight.entry, renewed=flight.entry is old)
                if current and not self._closing:
                    self._keep(tenant_id, flight, flight.entry)
            elif current and isinstance(flight.error, TokenRevoked):
                self._drop(tenant_id)
            to_close = self._unused(self._evicted)
            self._evicted.clear()
            self._lock.notify_all()
        flight.landed.set()
        _close(to_close)
        if old is not None:
            self.give_back(old)

    def _grant_all(self, flight: _Flight, entry: _Entry, *, renewed: bool) -> None:
        granted = 1 + flight.waiters
        entry.leases += granted
        self._leases += granted
        self._hits += flight.waiters
        if renewed:
            self._rechecks += 1
        else:
            self._misses += 1
        client = entry.connection.own_client
        if client is not None:
            self._clients[id(client)] = client

    def _keep(self, tenant_id: ObjectId, flight: _Flight, entry: _Entry) -> None:
        assert flight.tenant is not None
        entry.tenant = flight.tenant
        entry.checked_at = flight.asked_at
        if entry.cached:
            return
        self._drop(tenant_id)
        dropped = len(self._evicted)
        entry.cached = True
        self._entries[tenant_id] = entry
        for evicted in self._evicted[dropped:]:
            evicted.cached = False
            self._evictions += 1

    def _drop(self, tenant_id: ObjectId) -> None:
        """Take an entry out of the cache; lru-dict does not call back for this."""
        dropped = self._entries.pop(tenant_id, None)
        if dropped is not None:
            dropped.cached = False
            self._evicted.append(dropped)

    def give_back(self, entry: _Entry) -> None:
        """Take one lease of the entry back; Lease.release() calls this."""
        with self._lock:
            entry.leases -= 1
            self._leases -= 1
            to_close = self._unused([entry])
            self._lock.notify_all()
        _close(to_close)

    def _unused(self, entries: list[_Entry]) -> list[Client]:
        """The clients among these that nobody can use any more; they are not counted now."""
        unused = [
            entry.connection.own_client
            for entry in entries
            if entry.connection.own_client is not None and not entry.cached and entry.leases == 0
        ]
        for client in unused:
            self._clients.pop(id(client), None)
        return unused


def _close(clients: list[Client]) -> None:
    for client in clients:
        client.close()
