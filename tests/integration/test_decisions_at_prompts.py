"""What a command has asked about is looked at again when it is done: an answer that was given about
something else counts for nothing."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from click.testing import Result

from multitenant.errors import Conflict
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import create_user, list_users
from multitenant.tenancy.lifecycle import garbage, orphans
from multitenant.tenancy.operations.fleet import Fleet
from multitenant.tenancy.operations.restoration import Restored
from tests.conftest import Client, MakeWorld
from tests.integration.backups import back_up, restore
from tests.integration.conftest import Command
from tests.support import PASSWORD, User, World, answer

ACTOR = Actor.on_command_line()
AskedMeanwhile = Callable[..., Result]


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world(tenant_stale_seconds=0.1)


@pytest.fixture
def asked_meanwhile(command: Command, monkeypatch: pytest.MonkeyPatch) -> AskedMeanwhile:
    """Run a command; while it waits at its question, do something, and then agree."""

    def run(meanwhile: Callable[[], object], *arguments: str, name: str = "Acme") -> Result:
        def agree(*_: Any, **__: Any) -> str:
            meanwhile()
            return name

        monkeypatch.setattr("click.confirm", agree)
        monkeypatch.setattr("click.prompt", agree)
        return command(*arguments)

    return run


def path(owner: User, action: str = "") -> str:
    return f"/api/tenants/{owner.tenant_id}{action}"


def delete(world: World, owner: User, *, days_ago: float = 0) -> None:
    assert world.operator.delete(path(owner)).status_code == 200
    moment = utc_now() - timedelta(days=days_ago)
    there = {"_id": ObjectId(owner.tenant_id)}
    world.admin_db["tenants"].update_one(there, {"$set": {"deletedAt": moment}})


def bring_back_and_write(world: World, owner: User) -> User:
    assert world.operator.post(path(owner, "/restore")).status_code == 200
    again = world.login("owner@acme.example", PASSWORD, tenant=owner.tenant_id)
    assert again.post("/api/to-do-list", {"title": "since then"}).status_code == 201
    return again


def refused(result: Result) -> str:
    assert result.exit_code != 0, result.output
    return f"{result.output}{result.exception}"


class TestDeletedAnew:
    """A tenant that is brought back, written to and deleted again is another decision."""

    @pytest.fixture
    def owner(self, world: World) -> User:
        owner = world.tenant("Acme")
        delete(world, owner, days_ago=40)
        return owner

    def ensure_there(self, world: World, owner: User) -> None:
        bring_back_and_write(world, owner)
        assert world.db_of(owner.tenant_id)["todos"].count_documents({}) == 2

    def test_gc_purges_nothing_that_was_deleted_while_it_asked(
        self, world: World, owner: User, asked_meanwhile: AskedMeanwhile
    ) -> None:
        def meanwhile() -> None:
            bring_back_and_write(world, owner)
            delete(world, owner)

        assert "These are left" in refused(asked_meanwhile(meanwhile, "tenants", "gc"))
        self.ensure_there(world, owner)

    def test_nor_does_a_purge(
        self, world: World, owner: User, asked_meanwhile: AskedMeanwhile
    ) -> None:
        def meanwhile() -> None:
            bring_back_and_write(world, owner)
            delete(world, owner)

        assert "meanwhile" in refused(asked_meanwhile(meanwhile, "tenants", "purge", "acme"))
        self.ensure_there(world, owner)

    def test_what_is_as_it_was_asked_about_is_done(
        self, world: World, owner: User, asked_meanwhile: AskedMeanwhile
    ) -> None:
        done = asked_meanwhile(lambda: None, "tenants", "gc")
        assert done.exit_code == 0, done.output
        assert world.admin_db["tenants"].find_one({"name": "Acme"}) is None


@pytest.mark.parametrize("action", ["delete", "suspend"])
def test_a_tenant_that_was_changed_is_asked_about_again(
    world: World, asked_meanwhile: AskedMeanwhile, action: str
) -> None:
    owner = world.tenant("Acme")

    def meanwhile() -> None:
        world.operator.patch(path(owner), {"name": "The other half"})

    told = refused(asked_meanwhile(meanwhile, "tenants", action, owner.tenant_id))
    assert "meanwhile" in told
    assert world.record(owner.tenant_id)["status"] == "active"


class TestRestores:
    @pytest.fixture
    def owner(self, world: World) -> User:
        return world.tenant("Acme")

    def test_two_undoes_at_once_do_not_take_each_other_back(
        self, world: World, owner: User, tmp_path: Path, run_together: Any
    ) -> None:
        first = world.record(owner.tenant_id)["dbName"]
        restore(world, back_up(world, owner, tmp_path))
        seen = world.record(owner.tenant_id)
        tenant_id = ObjectId(owner.tenant_id)

        def undo() -> Restored:
            return world.platform.restoration.undo(tenant_id, ACTOR, seen=seen)

        results = run_together([undo] * 2)

        assert {type(result) for result in results} == {Restored, Conflict}
        assert world.record(owner.tenant_id)["dbName"] == first
        assert world.record(owner.tenant_id)["status"] == "active"

    @pytest.mark.parametrize("option", ["--undo", "--into-tenant"])
    def test_a_tenant_that_has_another_database_by_then_is_left_alone(
        self,
        world: World,
        owner: User,
        tmp_path: Path,
        asked_meanwhile: AskedMeanwhile,
        option: str,
    ) -> None:
        directory = back_up(world, owner, tmp_path)
        restore(world, directory)
        now: list[str] = []
        arguments = [str(directory)] if option == "--into-tenant" else []

        def meanwhile() -> None:
            restore(world, directory)
            now.append(world.record(owner.tenant_id)["dbName"])

        told = refused(asked_meanwhile(meanwhile, "restore", *arguments, option, "acme"))
        assert "another database by now" in told
        assert [world.record(owner.tenant_id)["dbName"]] == now

    def test_confirming_drops_only_what_was_asked_about(
        self, world: World, owner: User, tmp_path: Path, asked_meanwhile: AskedMeanwhile
    ) -> None:
        """What somebody has restored meanwhile can be taken back still."""
        directory = back_up(world, owner, tmp_path)
        restore(world, directory)
        asked = asked_meanwhile(lambda: restore(world, directory), "restore", "--confirm", "acme")
        assert "other kept databases" in refused(asked)
        kept = world.platform.restoration.kept(ObjectId(owner.tenant_id))
        assert len(kept) == 2
        assert {one["dbName"] for one in kept} <= world.databases()


class TestGarbage:
    """Garbage that is in use by the time it is removed."""

    @pytest.fixture(autouse=True)
    def _whatever_its_age(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in (garbage, orphans):
            monkeypatch.setattr(module, "MIN_AGE", timedelta(seconds=-2))

    def find(self, world: World, kind: str) -> garbage.Garbage:
        found = world.garbage_collector().find(ACTOR, older_than=timedelta(seconds=-2))
        (one,) = (it for it in found if it.kind == kind)
        return one

    def test_a_prepared_database_that_was_taken_is_left_to_its_tenant(self, world: World) -> None:
        note_id = ObjectId()
        note = {"_id": note_id, "dbName": f"{world.platform.settings.tenant_db_prefix}{note_id}"}
        note |= {"cluster": "default", "preparedVersion": 1, "purged": False, "hasUsers": False}
        world.admin_db["provisionings"].insert_one({**note, "startedAt": utc_now()})
        found = self.find(world, "database")
        taken = {"$unset": {"preparedVersion": ""}, "$set": {"startedAt": utc_now()}}
        world.admin_db["provisionings"].update_one({"_id": note_id}, taken)
        assert found.remove() is False
        left = world.admin_db["provisionings"].find_one_and_delete({"_id": note_id})
        assert left is not None
        assert "droppingSince" not in left

    def test_a_copy_that_is_being_filled_still_is_left_alone(self, world: World) -> None:
        """Whoever fills it stood still for a while, and goes on."""
        owner = world.tenant("Acme")
        note_id = ObjectId()
        note = {"_id": note_id, "dbName": f"{world.platform.settings.tenant_db_prefix}{note_id}"}
        note |= {"tenantId": ObjectId(owner.tenant_id), "cluster": "default"}
        note |= {"purged": False, "hasUsers": False, "startedAt": utc_now() - timedelta(hours=1)}
        world.admin_db["provisionings"].insert_one(note)
        found = self.find(world, "database")
        going_on = {"$set": {"startedAt": utc_now()}}
        world.admin_db["provisionings"].update_one({"_id": note_id}, going_on)
        assert found.remove() is False
        left = world.admin_db["provisionings"].find_one_and_delete({"_id": note_id})
        assert left is not None
        assert "droppingSince" not in left

    def test_a_mongodb_user_whom_a_record_names_by_now_is_not_dropped(
        self, world: World, mongo: Client
    ) -> None:
        owner = world.tenant("Acme", isolation="dedicated")
        record = world.record(owner.tenant_id)
        db = mongo[record["dbName"]]
        made = create_user(db)
        found = self.find(world, "database users")
        cipher = world.platform.cipher
        named = {"credentials": made.encrypted(record["_id"], cipher)}
        world.admin_db["tenants"].update_one({"_id": record["_id"]}, {"$set": named})
        world.platform.connections.forget(record["_id"])
        assert found.remove() is True
        assert made.name in (list_users(db) or set())
        assert owner.get("/api/users/me").status_code == 200
        for name in (list_users(db) or set()) - {made.name}:
            db.command("dropUser", name)


def test_a_tenant_that_was_migrated_further_is_not_taken_back(world: World) -> None:
    owner = world.tenant("Acme")
    record = world.record(owner.tenant_id)
    version = record["schemaVersion"]
    with Fleet(world.platform.connections, world.platform.cipher, parallel=1) as fleet:
        seen = {record["_id"]: version - 1}
        (done,) = fleet.roll_back([record], version - 2, seen=seen)
    assert done.error is not None
    assert f"at version {version} by now" in done.error
    assert world.record(owner.tenant_id)["schemaVersion"] == version


def test_a_new_user_that_may_be_dropped_by_now_is_not_recorded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation that stood still: `tenants gc` takes the user for a left-over."""
    owner = world.tenant("Acme", isolation="dedicated")
    before = world.record(owner.tenant_id)["credentials"]
    late = timedelta(seconds=-1)
    module = "multitenant.tenancy.lifecycle.tenant_credentials.COMMIT_WITHIN"
    with monkeypatch.context() as patch:
        patch.setattr(module, late)
        response = world.operator.post(path(owner, "/rotate-credentials"))
    assert (response.status_code, answer(response)["code"]) == (409, "conflict")
    assert world.record(owner.tenant_id)["credentials"] == before
    assert len(list_users(world.db_of(owner.tenant_id)) or ()) == 1
