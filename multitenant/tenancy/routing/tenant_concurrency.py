"""How many requests of one tenant a process serves at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bson import ObjectId

from multitenant.errors import TenantBusy


class TenantConcurrency:
    """Counts requests in flight, so that one tenant's slow ones cannot take every thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in_flight: dict[ObjectId, int] = {}
        self._lock = threading.Lock()

    def enter(self, tenant_id: ObjectId) -> None:
        """Count one request; raise TenantBusy, and count none, when the tenant has as many as it
        may have. Each that was counted needs one leave()."""
        with self._lock:
            count = self._in_flight.get(tenant_id, 0)
            if count >= self._limit:
                raise TenantBusy(retry_after=1)
            self._in_flight[tenant_id] = count + 1

    @contextmanager
    def entered(self, tenant_id: ObjectId) -> Iterator[None]:
        """enter(), and leave() at the end of the block."""
        self.enter(tenant_id)
        try:
            yield
        finally:
            self.leave(tenant_id)

    def leave(self, tenant_id: ObjectId) -> None:
        """Count one request less."""
        with self._lock:
            count = self._in_flight[tenant_id] - 1
            if count:
                self._in_flight[tenant_id] = count
            else:
                del self._in_flight[tenant_id]
