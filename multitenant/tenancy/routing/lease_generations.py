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
    """Counts the leases of each tenant. next() begins a new generation: when those before it have
    ended, nobody works with what was known of the tenant before."""

    def __init__(self) -> None:
        self._current: dict[ObjectId, Generation] = {}
        self._before: list[Generation] = []
        """Those that take no more, and have leases still."""
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
            if generation.leases:
                return
            if self._current.get(generation.tenant_id) is generation:
                del self._current[generation.tenant_id]
            else:
                self._before.remove(generation)
                self._changed.notify_all()

    def next(self, tenant_id: ObjectId) -> list[Generation]:
        """Return the generations that take no more from now on, and have leases still."""
        with self._changed:
            if current := self._current.pop(tenant_id, None):
                self._before.append(current)
            return [one for one in self._before if one.tenant_id == tenant_id]

    def await_end(self, generations: list[Generation], seconds: float) -> bool:
        """Wait until their last lease has ended; return whether it has, in time."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not any(one.leases for one in generations), seconds
            )
