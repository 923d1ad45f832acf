"""The right to use a tenant's database for a while."""

from collections.abc import Callable
from dataclasses import dataclass

from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.routing.placement import Connection
from multitenant.tenancy.routing.tenant import Tenant


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


class Lease:
    """The right to use a tenant's database until `release()`; also a context manager."""

    __slots__ = ("_entry", "_give_back", "_on_release", "tenant")

    def __init__(self, entry: Entry, tenant: Tenant, give_back: Callable[[Entry], None]) -> None:
        self._entry: Entry | None = entry
        self._give_back = give_back
        self._on_release: tuple[Callable[[], None], ...] = ()
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
            try:
                self._give_back(entry)
            finally:
                for handler in self._on_release:
                    handler()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
