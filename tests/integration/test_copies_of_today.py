"""What is backed up, cloned or opened is the tenant as it is when its turn comes, and not as it was
when somebody listed it: it may have moved, or be gone, since."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId

from multitenant.errors import BackupError, Conflict, DatabaseLost, NotFound
from multitenant.repositories.admin.damaged_records import legible
from multitenant.repositories.model import MongoDocument
from multitenant.schemas.admin.tenants import TenantCopy
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.backup import BackedUp, Backup
from multitenant.tenancy.operations.stored_backup import StoredBackup
from multitenant.tenancy.routing.tenant_access import TenantAccess
from tests.conftest import Client
from tests.integration.test_move import move, todo
from tests.support import User, World

BACKUP: Any = import_module("multitenant.tenancy.operations.backup")
ACTOR = Actor.on_command_line()


def back_up(world: World, output: Path, record: MongoDocument) -> BackedUp:
    """Back up the tenant of a record that was read before."""
    platform = world.platform
    work = Backup(platform.connections, platform.cipher, output, gzipped=False, parallel=1)
    (done,) = work.run([record])
    return done


def purge(world: World, owner: User) -> None:
    path = f"/api/tenants/{owner.tenant_id}"
    world.operator.delete(path)
    assert world.operator.post(f"{path}/purge", {"confirm": "Acme"}).status_code == 200


@pytest.fixture
def owner(world: World, blue: Client) -> User:
    """The owner of a tenant that can be moved to `blue`."""
    return world.tenant("Acme", cluster="default")


def test_a_tenant_that_has_moved_since_is_copied_from_where_it_is(
    world: World, owner: User, tmp_path: Path
) -> None:
    listed = world.record(owner.tenant_id)
    move(world, owner)
    todo(owner, "written after the move")
    new = TenantCopy.model_validate({"name": "Clone", "cluster": "default"})
    made = world.platform.copies.clone(listed, new, ACTOR, lambda _: None)
    assert world.db_of(str(made.tenant_id))["todos"].count_documents({}) == 1
    done = back_up(world, tmp_path, listed)
    (todos,) = [
        one for one in StoredBackup(done.directory).manifest.collections if one.name == "todos"
    ]
    assert todos.documents == 1


def test_a_tenant_that_was_purged_since_is_not_copied(
    world: World, owner: User, tmp_path: Path
) -> None:
    listed = world.record(owner.tenant_id)
    purge(world, owner)
    before = world.databases()
    done = back_up(world, tmp_path, listed)
    assert (done.error, done.manifest) == ("The tenant was purged meanwhile", None)
    assert list(tmp_path.iterdir()) == []
    new = TenantCopy.model_validate({"name": "Clone"})
    with pytest.raises(NotFound):
        world.platform.copies.clone(listed, new, ACTOR, lambda _: None)
    assert world.databases() == before


def test_a_clone_has_nothing_that_was_made_up_for_a_damaged_record(
    world: World, owner: User
) -> None:
    tenant = {"_id": ObjectId(owner.tenant_id)}
    world.admin_db["tenants"].update_one(tenant, {"$set": {"userLimit": "five"}})
    (listed,) = legible([world.record(owner.tenant_id)])
    assert "userLimit" not in listed
    new = TenantCopy.model_validate({"name": "Clone"})
    with pytest.raises(BackupError, match="userLimit"):
        world.platform.copies.clone(listed, new, ACTOR, lambda _: None)


def test_a_tenant_whose_name_no_new_one_may_have_is_backed_up(
    world: World, owner: User, tmp_path: Path
) -> None:
    name = "Ac\u200bme"
    with pytest.raises(ValueError, match="only change how others are shown"):
        TenantCopy.model_validate({"name": name})
    tenant = {"_id": ObjectId(owner.tenant_id)}
    world.admin_db["tenants"].update_one(tenant, {"$set": {"name": name}})
    done = back_up(world, tmp_path, world.record(owner.tenant_id))
    assert StoredBackup(done.directory).manifest.tenant.name == name


def test_a_tenant_that_moves_before_its_moment_is_not_backed_up_from_where_it_was(
    world: World, owner: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its old database is whole, and nobody's any more."""
    real = BACKUP.open_snapshot

    def open_snapshot(db: Any) -> Any:
        move(world, owner)
        todo(owner, "written after the move")
        return real(db)

    monkeypatch.setattr(BACKUP, "open_snapshot", open_snapshot)
    done = back_up(world, tmp_path, world.record(owner.tenant_id))
    assert done.error == "The tenant has just got another database; try again"
    assert list(tmp_path.iterdir()) == []


def test_a_shell_opens_the_database_that_the_tenant_has(world: World, owner: User) -> None:
    listed = world.record(owner.tenant_id)
    move(world, owner)
    access = TenantAccess(world.platform.connections, world.platform.cipher)
    for purged in (False, True):
        if purged:
            purge(world, owner)
        with (
            pytest.raises((Conflict, DatabaseLost), match=r"another database by now|gone"),
            access.opened(listed, ACTOR, role="read", through="script") as db,
        ):
            db.list_collection_names()
