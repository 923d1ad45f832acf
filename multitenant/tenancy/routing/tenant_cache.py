"""The tenants that this process is serving: cached, leased, and looked up once.

An entry is *leased* for the length of a request. Leaving the cache (by age, eviction, or because
the tenant changed) does not touch the leases: a client that exists for one tenant alone is closed
when the last lease of its entry is given back.

Such clients share a budget of sockets. Where a new one does not fit, the least recently used of
those that nobody leases is closed; when all are leased, the new one is refused.

One lock guards everything; nothing slow happens under it. `lru-dict` has no lock of its own and
its callback must not let other threads run, so the callback only notes what was evicted.
"""

import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

from bson import ObjectId
from lru import LRU

from multitenant.errors import DatabaseUnavailable, TokenRevoked
from multitenant.tenancy.deployments.clients import OpenedClient
from multitenant.tenancy.deployments.clusters import Hold
from multitenant.tenancy.routing.leases import Entry, Lease
from multitenant.tenancy.routing.placement import CredentialsRefused, Placement
from multitenant.tenancy.routing.recent_answers import AsOf, Vouches, nobody_vouches
from multitenant.tenancy.routing.tenant import Tenant

LoadTenant = Callable[[ObjectId], Tenant | None]
Waiting = Callable[[Tenant], AbstractContextManager[None]]
"""Counts, for the length of a block, one who waits for that tenant's client to be opened; raises
DatabaseUnavailable where too many do."""

NEVER = float("-inf")
CLOSERS = 16
ROOM_SECONDS = 1.0
"""How long a new client waits for room that leases under way will leave."""
ATTEMPTS = 3
"""To connect with credentials that may be replaced between reading and using them."""


@dataclass(slots=True, eq=False)
class _Flight:
    """A look-up under way, and those who wait for its result."""

    asked_at: float
    """From when what it finds is, at least."""
    old: Entry | None
    """What was cached and may be out of date; held, so that its client outlives the check."""
    waiters: int = 0
    entry: Entry | None = None
    tenant: Tenant | None = None
    error: BaseException | None = None
    connecting: Tenant | None = None
    """Whose client is being opened, where that is what it waits for."""
    loaded: threading.Event = field(default_factory=threading.Event)
    """It is known whether a client has to be opened."""
    granted: bool = False
    """Its leases were given, or nobody gets one."""
    landed: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class OwnClient:
    """A client that exists for one tenant alone, and how many leases are using it."""

    tenant_id: ObjectId
    cluster: str
    opened: OpenedClient
    leases: int


class TenantCache:
    """At most `size` tenants, each looked up again after `seconds`, and its record read again
    once it is older than `stale_seconds` and nobody vouches for it: if that fails the tenant is
    not served. Before a record is read, `as_of` tells how new it will be at least, or raises what
    the lease then raises. `room` tells how many sockets all clients of single tenants may open
    together; those that nobody has used for `idle_seconds` are closed by close_idle()."""

    def __init__(
        self,
        load: LoadTenant,
        placement: Placement,
        *,
        size: int,
        seconds: float,
        stale_seconds: float,
        vouches: Vouches = nobody_vouches,
        room: Callable[[], int] = lambda: sys.maxsize,
        idle_seconds: float = float("inf"),
        waiting: Waiting = lambda _: nullcontext(),
        clock: Callable[[], float] = time.monotonic,
        as_of: AsOf | None = None,
    ) -> None:
        self._load = load
        self._placement = placement
        self._seconds = seconds
        self._stale_seconds = stale_seconds
        self._vouches = vouches
        self._room = room
        self._idle_seconds = idle_seconds
        self._waiting = waiting
        self._clock = clock
        self._as_of = as_of or clock
        self._lock = threading.Condition()
        self._evicted: list[Entry] = []
        self._entries: LRU[ObjectId, Entry] = LRU(size, callback=self._note_eviction)
        self._flights: dict[ObjectId, _Flight] = {}
        self._own: OrderedDict[int, Entry] = OrderedDict()
        """Entries whose own client is open, least recently used first, by identity."""
        self._reserved = 0
        """Sockets for clients that are being opened."""
        self._leases = 0
        self._flying = 0
        """Look-ups under way, those that were forgotten included."""
        self._hits = self._misses = self._rechecks = self._evictions = 0
        self._closing = False

    def lease(self, tenant_id: ObjectId) -> Lease:
        """Return a lease on the tenant, whatever its status.

        Raises TokenRevoked when there is no such tenant (only tokens lead here), and
        DatabaseUnavailable while the cache is closing, and when a client of the tenant's own
        does not fit into the budget.
        """
        with self._lock:
            if self._closing:
                raise DatabaseUnavailable("The server is shutting down", retry_after=1)
            entry = self._entries.get(tenant_id)
            if entry is not None and self._is_fresh(entry):
                self._hits += 1
                self._hold(entry, 1)
                return Lease(entry, entry.tenant, self.give_back)
            flight = self._flights.get(tenant_id)
            if joined := flight is not None and self._is_recent(flight.asked_at):
                flight.waiters += 1
            else:
                flight = self._flights[tenant_id] = _Flight(self._clock(), entry)
                self._flying += 1
                if entry is not None:
                    self._hold(entry, 1)
        return self._await(flight) if joined else self._fly(tenant_id, flight)

    def forget(self, tenant_id: ObjectId) -> None:
        """Make the next lease read the tenant's record, because it has changed."""
        with self._lock:
            self._flights.pop(tenant_id, None)  # what it reads may be from before the change
            entry = self._entries.get(tenant_id)
            if entry is not None:
                entry.checked_at = NEVER
                entry.changed = True

    def evict(self, tenant_id: ObjectId) -> bool:
        """Take the tenant out of the cache, because it is gone; return whether it is out."""
        self.forget(tenant_id)
        with self._lock:
            self._drop(tenant_id)
            unused = self._take_unused()
            out = tenant_id not in self._entries
        _close(unused)
        return out

    def drop_cluster(self, cluster: str, *, own_clients: bool = True) -> None:
        """Take every tenant of the cluster out of the cache, because another URI leads there now
        (or, without `own_clients`, those that use the cluster's client, because that is given up).
        What leases are using stays open for as long as they do."""
        with self._lock:
            self._flights.clear()  # they may have connected the old way
            for entry in self._entries.values():
                affected = own_clients or entry.connection.own is None
                if entry.tenant.cluster == cluster and affected:
                    self._drop(entry.tenant.id)
            unused = self._take_unused()
        _close(unused)

    def forget_all(self) -> None:
        """Make the next lease of every tenant read its record."""
        with self._lock:
            self._flights.clear()
            for entry in self._entries.values():
                entry.checked_at = NEVER

    def close_idle(self) -> None:
        """Close the clients of single tenants that nobody has used for `idle_seconds`, or whose
        tenant has changed since: their credentials may be on their way out."""
        with self._lock:
            oldest = self._clock() - self._idle_seconds
            for entry in [*self._own.values()]:
                if self._is_idle(entry) and (entry.used_at < oldest or entry.changed):
                    self._drop(entry.tenant.id)
            unused = self._take_unused()
        _close(unused)

    @contextmanager
    def room_for(self, sockets: int) -> Iterator[None]:
        """Keep room for so many sockets of a cluster's client that is opened in the block, by
        closing idle clients of single tenants. Raises DatabaseUnavailable where there is none."""
        self._reserve(sockets)
        try:
            yield
        finally:
            with self._lock:
                self._reserved -= sockets

    def stats(self) -> dict[str, int]:
        """Counts: what is cached and leased now; hits, misses and so on since the start."""
        with self._lock:
            return {
                "size": len(self._entries),
                "capacity": self._entries.get_size(),
                "leases": self._leases,
                "clients": len(self._own),
                "hits": self._hits,
                "misses": self._misses,
                "rechecks": self._rechecks,
                "evictions": self._evictions,
            }

    def own_clients(self) -> list[OwnClient]:
        """The clients of single tenants that are open, least recently used first."""
        with self._lock:
            return [
                OwnClient(entry.tenant.id, entry.tenant.cluster, entry.connection.own, entry.leases)
                for entry in self._own.values()
                if entry.connection.own is not None
            ]

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
            clients = [entry.connection.own for entry in self._own.values()]
            self._own.clear()
        _close([client for client in clients if client is not None])
        return quiet

    def give_back(self, entry: Entry) -> None:
        """Take one lease of the entry back; Lease.release() calls this."""
        with self._lock:
            self._give_back(entry)
            unused = self._take_unused()
        _close(unused)

    def _is_fresh(self, entry: Entry) -> bool:
        return (
            self._is_recent(entry.checked_at)
            and self._clock() - entry.loaded_at <= self._seconds
            and not entry.tenant.has_expired_maintenance
        )

    def _is_recent(self, moment: float) -> bool:
        """Whether knowledge from that moment is good enough to serve a request on."""
        return self._clock() - moment <= self._stale_seconds or self._vouches(moment)

    def _is_idle(self, entry: Entry) -> bool:
        """Whether closing its client disturbs nobody."""
        return entry.cached and entry.leases == 0

    def _hold(self, entry: Entry, leases: int) -> None:
        entry.leases += leases
        self._leases += leases
        if id(entry) in self._own:
            self._own.move_to_end(id(entry))

    def _give_back(self, entry: Entry) -> None:
        entry.leases -= 1
        entry.used_at = self._clock()
        self._leases -= 1
        if not entry.cached:
            self._evicted.append(entry)  # it may be closed now
        self._lock.notify_all()

    def _await(self, flight: _Flight) -> Lease:
        """Take the lease that the flight's leader granted on this thread's behalf."""
        flight.loaded.wait()
        if flight.connecting is None:
            flight.landed.wait()
        else:
            try:
                with self._waiting(flight.connecting):
                    flight.landed.wait()
            except BaseException:
                self._leave_flight(flight)
                raise
        if flight.error is not None:
            raise flight.error
        assert flight.entry is not None
        assert flight.tenant is not None
        return Lease(flight.entry, flight.tenant, self.give_back)

    def _leave_flight(self, flight: _Flight) -> None:
        """Do without the lease that it grants."""
        with self._lock:
            if not flight.granted:
                flight.waiters -= 1
            elif flight.entry is not None:
                self._give_back(flight.entry)
            unused = self._take_unused()
        _close(unused)

    def _fly(self, tenant_id: ObjectId, flight: _Flight) -> Lease:
        """Look the tenant up for this thread and all who joined the flight."""
        before = flight.old
        try:
            flight.entry, flight.tenant = self._look_up(tenant_id, flight)
        except BaseException as error:
            flight.error = error if isinstance(error, Exception) else DatabaseUnavailable()
            self._land(tenant_id, flight, renewed=False)
            raise
        self._land(tenant_id, flight, renewed=flight.entry is before)
        return Lease(flight.entry, flight.tenant, self.give_back)

    def _look_up(self, tenant_id: ObjectId, flight: _Flight) -> tuple[Entry, Tenant]:
        """Read the record; connect, unless the old entry leads to the right database still."""
        for _ in range(ATTEMPTS):
            flight.asked_at = self._as_of()
            tenant = self._load(tenant_id)
            if tenant is None:
                raise TokenRevoked("The tenant of this token no longer exists")
            old = flight.old
            if (
                old is not None
                and flight.asked_at - old.loaded_at <= self._seconds
                and old.tenant.placement == tenant.placement
            ):
                return old, tenant
            self._let_go(tenant_id, flight)
            flight.connecting = tenant
            flight.loaded.set()
            try:
                with self._waiting(tenant):
                    return self._connect(tenant, flight.asked_at), tenant
            except CredentialsRefused:
                continue
        raise DatabaseUnavailable("The tenant's database refuses the platform's credentials")

    def _let_go(self, tenant_id: ObjectId, flight: _Flight) -> None:
        """Give up the old entry before a new one is made: its sockets may be needed."""
        with self._lock:
            old, flight.old = flight.old, None
            if old is not None:
                if self._entries.get(tenant_id) is old:
                    self._drop(tenant_id)
                self._give_back(old)
            unused = self._take_unused()
        _close(unused)

    def _connect(self, tenant: Tenant, asked_at: float) -> Entry:
        sockets = self._placement.sockets(tenant)
        self._reserve(sockets)
        entry = None
        try:
            connection = self._placement.connect(tenant)
            sockets += self._reserve_more(connection.own, sockets)
            entry = Entry(tenant, connection, asked_at, asked_at, used_at=asked_at)
        finally:
            with self._lock:
                self._reserved -= sockets
                if entry is not None and entry.connection.own is not None:
                    self._own[id(entry)] = entry
        return entry

    def _reserve_more(self, own: OpenedClient | None, reserved: int) -> int:
        """Make room for what the client may open to more servers than were expected, and return
        how much that is; close it, and raise DatabaseUnavailable, where there is none."""
        more = max(0, own.limit - reserved) if own is not None else 0
        try:
            self._reserve(more)
        except BaseException:
            if own is not None:
                own.close()
            raise
        return more

    def _reserve(self, sockets: int) -> None:
        """Make room for a new client, by closing idle ones; raise DatabaseUnavailable when there
        are too few of those, and none is given back soon."""
        if not sockets:
            return
        room = self._room() - sockets
        unused: list[OpenedClient | Hold] = []

        def fits() -> bool:
            while (full := self._opened_sockets() + self._reserved > room) and (
                idle := next(filter(self._is_idle, self._own.values()), None)
            ):
                self._drop(idle.tenant.id)
                self._evictions += 1
                unused.extend(self._take_unused())
            return not full

        with self._lock:
            fitted = self._lock.wait_for(fits, ROOM_SECONDS)
            if fitted:
                self._reserved += sockets
        _close(unused)
        if not fitted:
            raise DatabaseUnavailable("All connections to databases are in use; try again shortly")

    def _opened_sockets(self) -> int:
        return sum(
            entry.connection.own.limit
            for entry in self._own.values()
            if entry.connection.own is not None
        )

    def _land(self, tenant_id: ObjectId, flight: _Flight, *, renewed: bool) -> None:
        """Publish a flight's result: grant the leases, and cache the entry, unless the tenant was
        forgotten or the cache closed meanwhile."""
        with self._lock:
            self._flying -= 1
            flight.granted = True
            current = self._flights.get(tenant_id) is flight
            if current:
                del self._flights[tenant_id]
            if flight.entry is not None:
                self._hold(flight.entry, 1 + flight.waiters)
                self._hits += flight.waiters
                if renewed:
                    self._rechecks += 1
                else:
                    self._misses += 1
                if current and not self._closing:
                    self._keep(tenant_id, flight, flight.entry)
            elif current and isinstance(flight.error, TokenRevoked):
                self._drop(tenant_id)
            if flight.old is not None:
                self._give_back(flight.old)
            unused = self._take_unused()
            self._lock.notify_all()
        flight.loaded.set()
        flight.landed.set()
        _close(unused)

    def _keep(self, tenant_id: ObjectId, flight: _Flight, entry: Entry) -> None:
        assert flight.tenant is not None
        entry.tenant = flight.tenant
        entry.checked_at = flight.asked_at
        entry.changed = False
        if entry.cached:
            return
        self._drop(tenant_id)
        dropped = len(self._evicted)
        entry.cached = True
        self._entries[tenant_id] = entry
        self._evictions += len(self._evicted) - dropped

    def _drop(self, tenant_id: ObjectId) -> None:
        """Take an entry out of the cache; lru-dict does not call back for this."""
        dropped = self._entries.pop(tenant_id, None)
        if dropped is not None:
            self._note_eviction(tenant_id, dropped)

    def _take_unused(self) -> list[OpenedClient | Hold]:
        """The clients, and holds on clusters' clients, that nobody can use any more, among those
        that have left the cache; they are not counted from now on. Close them outside the lock."""
        unused: list[OpenedClient | Hold] = []
        for entry in self._evicted:
            if entry.leases:
                continue
            own, hold = entry.connection.own, entry.connection.hold
            if own is not None and id(entry) in self._own:
                del self._own[id(entry)]
                unused.append(own)
            if hold is not None:
                unused.append(hold)
        self._evicted.clear()
        return unused

    def _note_eviction(self, _: ObjectId, entry: Entry) -> None:
        """lru-dict calls this, under our lock, when an entry had to make room."""
        entry.cached = False
        self._evicted.append(entry)


def _close(unused: Sequence[OpenedClient | Hold]) -> None:
    """Close them, several at a time: each client may take a second."""
    clients = []
    for one in unused:
        if isinstance(one, Hold):
            one.close()
        else:
            clients.append(one)
    if len(clients) == 1:
        clients[0].close()
    elif clients:
        with ThreadPoolExecutor(min(len(clients), CLOSERS)) as pool:
            list(pool.map(lambda client: client.close(), clients))
