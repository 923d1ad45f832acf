"""Knowing when the last lease of a tenant that began before some moment has ended."""

import threading
from dataclasses import dataclass

from bson import ObjectId


@dataclass(slots=True, eq=False)
class Generation:
    """The leases of one tenant that began between two moments, counted from before the tenant's
    record is read for them."""

    tenant_id: ObjectId
    leases: int = 0


class LeaseGenerations:
    """Counts the leases of each tenant. next() begins a new generation: those before it end, and
    then nobody works with what was known of the tenant before."""

    def __init__(self) -> None:
        self._current: dict[ObjectId, Generation] = {}
        self._changed = threading.Condition()

    def enter(self, tenant_id: ObjectId) -> Generation:
        """Count one, before anything is read for it; it needs one leave()."""
        with self._changed:
            generation = self._current.get(tenant_id)
            if generation is None:
                generation = self._current[tenant_id] = Generation(tenant_id)
            generation.leases += 1
            return generation

    def leave(self, generation: Generation) -> None:
        """Count one less."""
        with self._changed:
            generation.leases -= 1
            if not generation.leases:
                if self._current.get(generation.tenant_id) is generation:
                    del self._current[generation.tenant_id]
                self._changed.notify_all()

    def next(self, tenant_id: ObjectId) -> Generation | None:
        """Return the generation that takes no more from now on; None when it is over already."""
        with self._changed:
            return self._current.pop(tenant_id, None)

    def await_end(self, generation: Generation, seconds: float) -> bool:
        """Wait until its last lease has ended; return whether it has, in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not generation.leases, seconds)
