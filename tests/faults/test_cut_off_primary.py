"""A primary that was cut off from the other members answers reads as ever, until it notices.

Nobody is served on what it says: a tenant may have been suspended on the other side meanwhile.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.conftest import MakeWorld, data_directory, leakless_worlds, variables_of
from tests.faults.replica_set import ReplicaSet
from tests.first_start import fresh_name
from tests.support import World, eventually, refusal

pytestmark = pytest.mark.slow

Client = MongoClient[dict[str, Any]]
NEVER_MS = 600_000
"""Until when the primary does not notice that it is alone: these tests are over before."""


@pytest.fixture(scope="module")
def replica_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplicaSet]:
    """Three members, of which a cut-off primary remains one for long."""
    with data_directory(tmp_path_factory) as directory, ReplicaSet(directory) as replica_set:
        replica_set.set_election_timeout(NEVER_MS)
        yield replica_set


@pytest.fixture
def make(replica_set: ReplicaSet, tmp_path: Path) -> Iterator[MakeWorld]:
    """Applications on them."""
    environment = variables_of(replica_set.uri, fresh_name(), tmp_path)
    with leakless_worlds({**environment, "OPERATION_TIMEOUT_MS": "1000"}) as make:
        yield make


@contextmanager
def cut_off(replica_set: ReplicaSet) -> Iterator[Client]:
    """Stop the other members during the block; yield a client of the primary alone."""
    primary = replica_set.primary()
    others = [member for member in replica_set.members if member is not primary]
    with Client(
        f"{replica_set.uri}&directConnection=true".replace(
            ",".join(member.host for member in replica_set.members), primary.host
        )
    ) as alone:
        for member in others:
            member.pause()
        try:
            yield alone
        finally:
            for member in others:
                member.go_on()
            replica_set.await_members()


def is_primary(alone: Client) -> bool:
    return bool(alone.admin.command("hello")["isWritablePrimary"])


def is_current(world: World) -> bool:
    return world.platform.watcher.vouches_for(time.monotonic())


def test_nobody_is_served_on_what_a_cut_off_primary_says(
    replica_set: ReplicaSet, make: MakeWorld
) -> None:
    world = make()
    owner = world.tenant("Acme")
    eventually(lambda: is_current(world))
    assert owner.get("/api/users/me").status_code == 200

    with cut_off(replica_set) as alone:
        eventually(lambda: not is_current(world))
        for path in ("/api/users/me", "/api/to-do-list"):
            refusal(owner.get(path), 503, "database_unavailable")
        refusal(world.client.get("/readyz"), 503, "database_unavailable")
        assert not is_current(world)
        assert is_primary(alone), "it would have answered"
        assert alone[world.admin_db.name]["tenants"].find_one({"name": "Acme"})

    eventually(lambda: is_current(world))
    assert owner.get("/api/users/me").status_code == 200
    assert world.client.get("/readyz").status_code == 200
