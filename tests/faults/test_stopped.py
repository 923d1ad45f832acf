"""Processes that stand still in the middle of their work, until what they hold has expired."""

import itertools
import random
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from bson import ObjectId
from flask_openapi3 import OpenAPI

from multitenant.errors import Conflict
from multitenant.extensions import Platform, platform_of
from multitenant.repositories.admin.tenants import find_tenants_for_migration
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle import tenant_locks
from multitenant.tenancy.lifecycle.maintenance import maintenance
from multitenant.tenancy.operations import moving
from multitenant.tenancy.operations.fleet import Fleet
from tests.conftest import Client, MakeWorld
from tests.faults.budget import LONG
from tests.faults.deployment import Deployment
from tests.faults.killing import Do, Step, Victim
from tests.faults.test_killed_restore import backed_up
from tests.support import PASSWORD, World

pytestmark = pytest.mark.slow
TRANSACTION_SECONDS = 2
"""MongoDB gives up the transaction of a process that stands still after this time."""


@pytest.fixture(scope="module", autouse=True)
def _transactions_are_given_up_soon(mongo: Client, theirs: Client) -> Iterator[None]:
    """On both servers, for the tests here."""
    before = [_set_lifetime(client, TRANSACTION_SECONDS) for client in (mongo, theirs)]
    yield
    for client, seconds in zip((mongo, theirs), before, strict=True):
        _set_lifetime(client, seconds)


def _set_lifetime(client: Client, seconds: int) -> int:
    changed = client.admin.command("setParameter", 1, transactionLifetimeLimitSeconds=seconds)
    return int(changed["was"])


MAINTENANCE: Any = import_module("multitenant.tenancy.lifecycle.maintenance")
ACTOR = Actor.on_command_line()
BOUNDED_STEPS = 3
RENEW_SECONDS = 0.2
RENEWALS = ("update admin.tenants", "update admin.locks")
UNTIL_SERVED = 60.0
OLD = 3
"""The schema version from which tenants are migrated."""
numbers = itertools.count(1)


@pytest.fixture
def world(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> World:
    """Every process hears of a change soon, and is waited for if this machine is slow. What is
    renewed, is renewed often: as soon as the process goes on, too."""
    monkeypatch.setattr(moving, "ANSWER_SECONDS", 40.0)
    real = tenant_locks.renewing
    for module in (tenant_locks, MAINTENANCE):
        monkeypatch.setattr(module, "renewing", lambda renew, _: real(renew, RENEW_SECONDS))
    return make_world(tenant_stale_seconds=0.1)


def working(work: Callable[[Platform], object]) -> Do:
    """What a command does; it is told of what is refused."""

    def do(app: OpenAPI) -> None:
        with app.app_context():
            work(platform_of(app))

    return do


class Sleeping:
    """Something that is done to the tenant Acme by a process that stands still at a step."""

    def __init__(self, deployment: Deployment, victim: Victim, do: Do, mongo: Client) -> None:
        self._deployment = deployment
        self._victim = victim
        self._do = do
        self._admin_db = mongo[deployment.world.admin_db.name]

    def try_steps(self, prepare: Callable[[], object] = lambda: None) -> list[str]:
        """Stop it at some steps, at all in the long run; return what it was told where it was
        refused."""
        prepare()
        steps = self._victim.steps(self._do)
        self._recover()
        refused = []
        for step in self._choose(steps):
            prepare()
            try:
                if told := self._stop(step):
                    refused.append(told)
                self._recover()
            except BaseException as error:
                error.add_note(f"stopped {step}")
                raise
        return refused

    def _stop(self, step: Step) -> str | None:
        titles: list[str] = []
        woken = self._victim.stopped(self._do, step, lambda: titles.append(self._meanwhile()))
        record = self._deployment.record("Acme")
        left = {"maintenanceUntil", "maintenanceHolder", "readOnly"} & record.keys()
        assert (record["status"], left) == ("active", set())
        found = self._deployment.db(record)["todos"].distinct("title")
        assert set(titles) <= set(found), f"an acknowledged write is lost, and it {woken}"
        return woken.refused

    def _meanwhile(self) -> str:
        """What the process holds expires, and the tenant is written to; return what."""
        expired = {"$set": {"maintenanceUntil": utc_now()}}
        self._admin_db["tenants"].update_many({"status": "maintenance"}, expired)
        self._admin_db["locks"].update_many({}, {"$set": {"until": utc_now()}})
        title = f"while it stood still {next(numbers)}"
        deadline = monotonic() + UNTIL_SERVED
        while (status := self._write(title)) != 201:
            assert monotonic() < deadline, f"the tenant is not served: {status}"
            sleep(0.05)
        return title

    def _write(self, title: str) -> int:
        """Write it as the owner, who logs in anew; return how that was answered."""
        client = self._deployment.world.client
        body = {"email": "owner@acme.example", "password": PASSWORD}
        response = client.post("/api/login", json=body)
        if response.status_code == 200:
            access = response.get_json()["responseObject"]["accessToken"]
            headers = {"Authorization": f"Bearer {access}"}
            response = client.post("/api/to-do-list", json={"title": title}, headers=headers)
        return response.status_code

    def _recover(self) -> None:
        self._deployment.restart()
        self._deployment.collect_garbage()
        self._deployment.ensure_whole()

    def _choose(self, steps: list[Step]) -> list[Step]:
        """The last commits, and others: what comes before matters where the tenant is refused."""
        steps = [step for step in steps if step.command not in RENEWALS]
        if LONG:
            return steps
        commits = [step for step in steps if step.command.startswith("commitTransaction")]
        others = random.sample(steps[len(steps) // 4 :], BOUNDED_STEPS)
        return sorted({*others, *commits[-2:]}, key=steps.index)


def test_a_restore_that_stood_still_loses_no_acknowledged_write(
    deployment: Deployment, victim: Victim, mongo: Client, tmp_path: Path
) -> None:
    _, backup = backed_up(deployment, tmp_path)

    def restore(platform: Platform) -> None:
        platform.restoration.restore(backup, ACTOR, lambda _: None)

    assert Sleeping(deployment, victim, working(restore), mongo).try_steps()


def test_an_undo_that_stood_still_loses_no_acknowledged_write(
    deployment: Deployment, victim: Victim, mongo: Client, tmp_path: Path
) -> None:
    tenant_id, backup = backed_up(deployment, tmp_path)
    deployment.world.platform.restoration.restore(backup, ACTOR, lambda _: None)

    def undo(platform: Platform) -> None:
        platform.restoration.undo(tenant_id, ACTOR)

    assert Sleeping(deployment, victim, working(undo), mongo).try_steps()


def test_a_move_that_stood_still_loses_no_acknowledged_write(
    on_two_clusters: Deployment, victim: Victim, mongo: Client
) -> None:
    owner = on_two_clusters.world.tenant("Acme", cluster="default", isolation="dedicated")
    tenant_id = ObjectId(owner.tenant_id)

    def move(platform: Platform) -> None:
        here = platform.connections.admin_db["tenants"].find_one({"_id": tenant_id})
        assert here is not None
        to = "blue" if here["cluster"] == "default" else "default"
        platform.moves.move(tenant_id, ACTOR, to=to)

    Sleeping(on_two_clusters, victim, working(move), mongo).try_steps()


@pytest.mark.parametrize("in_maintenance", [False, True])
def test_a_migration_that_stood_still_is_told_so_and_can_be_run_again(
    deployment: Deployment, victim: Victim, mongo: Client, in_maintenance: bool
) -> None:
    world = deployment.world
    world.tenant("Acme")

    def run(platform: Platform, *, back: bool = False) -> None:
        maintain = partial(maintenance, platform.connections, transaction_seconds=10)
        records = find_tenants_for_migration(platform.connections.admin_db, named=["Acme"])
        with Fleet(
            platform.connections,
            platform.cipher,
            parallel=1,
            maintain=maintain if in_maintenance and not back else None,
        ) as fleet:
            (done,) = fleet.roll_back(records, OLD) if back else fleet.migrate(records)
        if done.error:
            raise Conflict(done.error)

    def prepare() -> None:
        run(world.platform)
        run(world.platform, back=True)

    assert Sleeping(deployment, victim, working(run), mongo).try_steps(prepare)
    run(world.platform)
    deployment.ensure_whole()
