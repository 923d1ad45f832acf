"""Capped collections that hold more than their size allows.

Documents that were updated may have grown; MongoDB deletes the oldest only when the next one is
inserted. A copy has them all: it gets more room while it is filled.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from multitenant.repositories.durability import run_confirmed
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.contents.collection_specs import CollectionSpec

PLENTY = 2**40
"""Bytes. Nothing is reserved for them."""


@contextmanager
def whole_capped(db: MongoDatabase, spec: CollectionSpec) -> Iterator[Callable[[int], None]]:
    """Yield what is to be told how many bytes the collection is about to have. One that is capped
    has room for them then, and at the end of the block the size that it is to have."""
    enlarged = False

    def ensure_room(size: int) -> None:
        nonlocal enlarged
        if spec.is_capped and not enlarged and size > spec.options["size"]:
            run_confirmed(db, {"collMod": spec.name, "cappedSize": PLENTY})
            enlarged = True

    yield ensure_room
    if enlarged:
        run_confirmed(db, {"collMod": spec.name, "cappedSize": spec.options["size"]})
