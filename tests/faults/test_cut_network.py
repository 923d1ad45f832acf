"""An application server is cut off from the others together with the primary, which does not know
that yet. On the other side a new primary is elected, and a tenant suspended there: within a second
after the answer it is served nowhere.

It needs network namespaces, and so root; `test_cut_off_primary.py` is the form of it that anybody
can run.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.conftest import data_directory, variables_of
from tests.e2e.server import MULTITENANT_RUN, Server
from tests.faults.budget import LONG
from tests.faults.network import Namespace, Network, can_be_made
from tests.faults.replica_set import ReplicaSet
from tests.support import PASSWORD, eventually

pytestmark = pytest.mark.skipif(
    not (LONG and can_be_made()), reason="only in `make faults`, by root"
)
NEVER_MS = 600_000
"""When the old primary would notice by itself; the test elects the new one."""
STALE_SECONDS = 1.0
SLACK_SECONDS = 0.25
"""For a request that had begun: its answer is sent a moment after it was decided."""


@dataclass
class Poll:
    """Requests of a tenant's owner, one after another, and when each was answered with what."""

    client: httpx.Client
    answered: list[tuple[float, int]] = field(default_factory=list)

    def begin(self, ending: threading.Event) -> None:
        while not ending.is_set():
            began_at = time.monotonic()
            try:
                status = self.client.get("/api/users/me").status_code
            except httpx.TransportError:
                status = 0
            self.answered.append((began_at, status))


@contextmanager
def application(place: Namespace, replica_set: ReplicaSet, directory: Path) -> Iterator[Server]:
    """A server there."""
    variables = {
        **variables_of(replica_set.uri, "cut", directory),
        "OPERATION_TIMEOUT_MS": "3000",
        "WORKERS": "1",
        "WORKER_CLASS": "gevent",
    }
    with Server((*place.prefix, *MULTITENANT_RUN), variables, directory) as server:
        place.run(server.wait_until_ready)
        yield server


def elect(replica_set: ReplicaSet, number: int) -> None:
    """Let this member be elected at once by those who hear it."""
    uri = replica_set.uri.replace(
        ",".join(member.host for member in replica_set.members), replica_set.members[number].host
    )
    deadline = time.monotonic() + 30
    with MongoClient[dict[str, object]](f"{uri}&directConnection=true") as member:
        while True:
            try:
                member.admin.command("replSetStepUp")
            except PyMongoError:
                assert time.monotonic() < deadline, "it is not elected"
                time.sleep(0.05)
            else:
                return


def insist(send: Callable[[], httpx.Response]) -> None:
    eventually(lambda: send().status_code == 200)


def test_a_tenant_that_is_suspended_on_the_other_side_is_served_nowhere(
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    with ExitStack() as stack:
        network = stack.enter_context(Network())
        here, there = network.here, network.there
        directory = stack.enter_context(data_directory(tmp_path_factory))
        replica_set = stack.enter_context(ReplicaSet(directory, here, there, there))
        assert replica_set.primary() is replica_set.members[0]
        replica_set.set_election_timeout(NEVER_MS)
        cut_off = stack.enter_context(application(here, replica_set, tmp_path / "here"))
        other = stack.enter_context(application(there, replica_set, tmp_path / "there"))
        tenant_id, owner = here.run(lambda: _add_tenant(cut_off))
        operator = there.run(lambda: other.login())
        poll, ending = Poll(owner), threading.Event()
        polling = threading.Thread(target=lambda: here.run(lambda: poll.begin(ending)))
        polling.start()
        try:
            network.cut()
            cut_at = time.monotonic()
            elect(replica_set, 1)
            there.run(lambda: insist(lambda: operator.post(f"/api/tenants/{tenant_id}/suspend")))
            suspended_at = time.monotonic()
            time.sleep(5)
        finally:
            ending.set()
            polling.join()
        served = [at for at, status in poll.answered if status == 200]
        assert served, "it was not served before"
        record_property("served after the cut", f"{max(served) - cut_at:.2f} s")
        assert max(served) - suspended_at <= STALE_SECONDS + SLACK_SECONDS
        for client in (owner, operator):
            client.close()


def _add_tenant(server: Server) -> tuple[str, httpx.Client]:
    body = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD}
    with server.login() as operator:
        added = operator.post("/api/add", json=body)
    tenant_id: str = added.json()["responseObject"]["tenantId"]
    return tenant_id, server.login("owner@acme.example", PASSWORD)
