"""Backups restored, and tenants copied, by processes that are killed."""

from pathlib import Path

import pytest
from bson import ObjectId

from multitenant.extensions import Platform
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.stored_backup import StoredBackup
from tests.conftest import MakeWorld
from tests.faults.deployment import Deployment
from tests.faults.killing import Victim
from tests.faults.stories import Operation, Story, perform
from tests.integration.backups import back_up
from tests.support import PASSWORD, World

pytestmark = pytest.mark.slow

ACTOR = Actor.on_command_line()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Every process hears of a change soon, so that nobody waits for them long."""
    return make_world(tenant_stale_seconds=0.1)


def backed_up(deployment: Deployment, output: Path) -> tuple[ObjectId, StoredBackup]:
    """Acme, dedicated, and a backup of it, since which a user was removed and something written."""
    world = deployment.world
    owner = world.tenant("Acme", isolation="dedicated")
    ben = {"email": "ben@acme.example", "password": PASSWORD}
    added = owner.post("/api/users", ben)
    owner.post("/api/to-do-list", {"title": "before"})
    directory = back_up(world, owner, output)
    owner.post("/api/to-do-list", {"title": "after"})
    owner.delete(f"/api/users/{added.get_json()['responseObject']['id']}")
    return ObjectId(owner.tenant_id), StoredBackup(directory)


def test_a_tenant_is_taken_back_to_a_backup_and_back_again_entirely_or_not_at_all(
    deployment: Deployment, victim: Victim, tmp_path: Path
) -> None:
    tenant_id, backup = backed_up(deployment, tmp_path)

    def restore(platform: Platform) -> None:
        platform.restoration.restore(backup, ACTOR, lambda _: None)

    def undo(platform: Platform) -> None:
        platform.restoration.undo(tenant_id, ACTOR)

    def confirm(platform: Platform) -> None:
        platform.restoration.confirm(tenant_id, ACTOR)

    Story(
        deployment,
        victim,
        Operation("restore", perform(restore), once=True),
        Operation("undo", perform(undo), once=True),
        Operation("confirm", perform(confirm)),
    ).tell(bounded=4)


def test_a_copy_of_a_tenant_is_made_entirely_or_not_at_all(
    deployment: Deployment, victim: Victim, tmp_path: Path
) -> None:
    _, backup = backed_up(deployment, tmp_path)
    record, new = deployment.record("Acme"), TenantCopy(name="Copy")
    copy_id = ObjectId()

    def restore(platform: Platform) -> None:
        platform.copies.restore(backup, new, ACTOR, lambda _: None)

    def clone(platform: Platform) -> None:
        platform.copies.clone(record, new, ACTOR, lambda _: None)

    def delete() -> None:
        nonlocal copy_id
        copy_id = deployment.record("Copy")["_id"]
        deployment.world.platform.lifecycle.move(copy_id, "delete", ACTOR)

    def purge(platform: Platform) -> None:
        platform.lifecycle.purge(copy_id, "Copy", ACTOR)

    Story(
        deployment,
        victim,
        Operation("restore as new", perform(restore)),
        Operation("purge", perform(purge), prepare=delete, rare=True),
        Operation("clone", perform(clone)),
        Operation("purge", perform(purge), prepare=delete, rare=True),
    ).tell(bounded=3)
