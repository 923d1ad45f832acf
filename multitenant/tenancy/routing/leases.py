"""The right to use a tenant's database for a while."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.deployments.foreign_servers import blame_server
from multitenant.tenancy.routing.placement import Connection
from multitenant.tenancy.routing.tenant import Tenant

NEVER = float("-inf")
WRITE_SECONDS = 1.0
READ_SECONDS = 5.0
"""How long ago a database may have been found to be the tenant's: what is written to one that was
dropped makes it anew, and is lost; one that is only read is empty."""


@dataclass(slots=True, eq=False)
class Entry:
    """A tenant that is being served; `leases` counts who holds one at this moment."""

    tenant: Tenant
    connection: Connection
    loaded_at: float
    checked_at: float
    used_at: float
    leases: int = 0
    cached: bool = False
    changed: bool = False
    """Whether the tenant has changed since its client was opened, as far as is known."""
    identified_at: float = NEVER
    """When its database was last seen to be the tenant's."""


Identify = Callable[[Entry, float], None]
"""Sees to it that the entry's database was found to be the tenant's so many seconds ago at most.
Raises DatabaseUnavailable where it is not, and PyMongo's errors."""


class Lease:
    """The right to use a tenant's database until `release()`; also a context manager."""

    __slots__ = ("_entry", "_give_back", "_identify", "_on_release", "tenant")

    def __init__(self, entry: Entry, tenant: Tenant, give_back: Callable[[Entry], None]) -> None:
        self._entry: Entry | None = entry
        self._give_back = give_back
        self._on_release: tuple[Callable[[], None], ...] = ()
        self._identify: Identify = lambda *_: None
        self.tenant = tenant

    def on_release(self, handler: Callable[[], None]) -> None:
        """Call `handler` when the lease is given back, as well as those that were named before."""
        self._on_release = (handler, *self._on_release)

    def wait_in_line(self) -> None:
        """Wait until no more hold a lease, and waited likewise, than the database has connections
        for; whoever came first is first. Raises DatabaseUnavailable."""
        line = self._entry and self._entry.connection.line
        if line:
            line.enter()
            self.on_release(line.leave)

    def identify_with(self, identify: Identify) -> None:
        """Let `identify` look at the database before it is given out."""
        self._identify = identify

    @property
    def database(self) -> MongoDatabase:
        """The tenant's database; raises what `identify` raises, and RuntimeError once the lease was
        given back."""
        return self._opened(WRITE_SECONDS)

    @property
    def database_to_read(self) -> MongoDatabase:
        """The same, for requests that only read; it may have been looked at longer ago."""
        return self._opened(READ_SECONDS)

    def _opened(self, seconds: float) -> MongoDatabase:
        if self._entry is None:
            raise RuntimeError("This lease was given back")
        self._identify(self._entry, seconds)
        return self._entry.connection.database

    def release(self) -> None:
        """Give the lease back. Doing it again does nothing."""
        entry, self._entry = self._entry, None
        if entry is not None:
            try:
                self._give_back(entry)
            finally:
                for handler in self._on_release:
                    handler()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        self.release()
        if error is not None and self.tenant.has_own_server:
            blame_server(error)
