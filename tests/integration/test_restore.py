"""`multitenant restore` into the tenant that the backup is of: entirely, or not at all."""

import time
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.errors import BackupError, Conflict, DomainError
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.deployments.database_users import list_users
from multitenant.tenancy.lifecycle.both_databases import write_both
from multitenant.tenancy.operations.restoration import Restored
from multitenant.tenancy.operations.stored_backup import StoredBackup
from tests.conftest import MakeWorld
from tests.integration.backups import (
    Multitenant,
    back_up,
    memberships,
    raw_contents,
    restore,
    shapes,
    told,
    users,
)
from tests.integration.test_external_tenants import purge
from tests.integration.test_garbage import find
from tests.support import PASSWORD, User, World, answer, eventually, refusal

RESTORATION: Any = import_module("multitenant.tenancy.operations.restoration")
Client = MongoClient[dict[str, Any]]
OTHER_PASSWORD = "another good password"
PASSWORD_ROUTE = "/api/users/me/password"
WRITTEN_ANEW = ("users", "turns")
"""Collections in which a restore writes (token versions), or requests on their way."""


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    """Every process hears of a change soon, so that nobody waits for them long."""
    return make_world(tenant_stale_seconds=0.1)


def todo(user: User, title: str) -> None:
    assert user.post("/api/to-do-list", {"title": title}).status_code == 201


def titles(user: User) -> list[str]:
    return [item["title"] for item in answer(user.get("/api/to-do-list"))["items"]]


def again(world: World, user: User, password: str = PASSWORD) -> User:
    """The same user, logged in anew."""
    email = memberships(world, user.tenant_id)[ObjectId(user.user_id)]
    return world.login(email, password, tenant=user.tenant_id)


def is_refused(user: User) -> bool:
    """Whether the user's token is; another process's change is heard of soon."""
    return user.get("/api/users/me").status_code == 401


@pytest.mark.parametrize("gzipped", [False, True])
def test_the_tenant_is_as_it_was(world: World, tmp_path: Path, gzipped: bool) -> None:
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    todo(acme, "before")
    todo(globex, "theirs")
    directory = back_up(world, acme, tmp_path, gzipped=gzipped)
    before = world.record(acme.tenant_id)
    was, other = (
        raw_contents(world.db_of(acme.tenant_id), *WRITTEN_ANEW),
        raw_contents(world.db_of(globex.tenant_id)),
    )
    todo(acme, "after")

    restored = restore(world, directory)

    record = world.record(acme.tenant_id)
    assert (restored.db_name, restored.kept_db_name) == (record["dbName"], before["dbName"])
    assert record["dbName"] != before["dbName"]
    changing = {"dbName", "updatedAt"}
    assert {k: v for k, v in record.items() if k not in changing} == {
        k: v for k, v in before.items() if k not in changing
    }
    db = world.db_of(acme.tenant_id)
    assert raw_contents(db, *WRITTEN_ANEW) == was
    assert shapes(db) == shapes(world.admin_db.client[before["dbName"]])
    assert "copying" not in db.list_collection_names()
    assert titles(again(world, acme)) == ["before"]
    assert raw_contents(world.db_of(globex.tenant_id)) == other
    assert titles(globex) == ["theirs"]
    entry = answer(world.operator.get("/api/audit?action=tenant.restore_backup"))["items"][0]
    assert (entry["tenantId"], entry["details"]["dbName"]) == (acme.tenant_id, record["dbName"])


class TestUsers:
    def test_those_removed_since_are_back_and_those_added_since_are_gone(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        ben = world.colleague(owner, "member")
        directory = back_up(world, owner, tmp_path)
        email = memberships(world, owner.tenant_id)[ObjectId(ben.user_id)]
        owner.delete(f"/api/users/{ben.user_id}")
        cleo = world.colleague(owner, "member")
        cleos = memberships(world, owner.tenant_id)[ObjectId(cleo.user_id)]

        restored = restore(world, directory)

        assert (restored.users.back, restored.users.gone) == ([email], [cleos])
        db = world.db_of(owner.tenant_id)
        assert memberships(world, owner.tenant_id) == users(db)
        eventually(lambda: cleo.get("/api/users/me").status_code == 401)
        refusal(
            world.client.post("/api/login", json={"email": cleos, "password": PASSWORD}),
            401,
            "credentials_invalid",
        )
        assert world.login(email).user_id == ben.user_id
        added = again(world, owner).post("/api/users", {"email": cleos, "password": PASSWORD})
        assert added.status_code == 201

    def test_nobodys_tokens_outlive_it_and_nobody_is_locked_out(
        self, world: World, tmp_path: Path
    ) -> None:
        """The password was changed twice since, so tokens of a higher version than the backup
        knows exist: they must not be good once that version comes round again."""
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        change = {"currentPassword": PASSWORD, "newPassword": OTHER_PASSWORD}
        assert owner.put(PASSWORD_ROUTE, change).status_code == 200
        back = {"currentPassword": OTHER_PASSWORD, "newPassword": PASSWORD + "!"}
        assert owner.put(PASSWORD_ROUTE, back).status_code == 200
        newest = again(world, owner, PASSWORD + "!")

        restored = restore(world, directory)

        assert len(restored.users.changed) == 1
        for old in (owner, newest):
            eventually(partial(is_refused, old))
            refresh = {"Authorization": f"Bearer {old.refresh}"}
            assert world.client.post("/api/refresh", headers=refresh).status_code == 401
        now = again(world, owner)
        assert now.get("/api/users/me").status_code == 200
        assert now.put(PASSWORD_ROUTE, change).status_code == 200
        for old in (owner, newest):
            assert old.get("/api/users/me").status_code == 401

    def test_a_user_who_is_added_later_is_let_in_and_older_tokens_still_are_not(
        self, world: World, tmp_path: Path
    ) -> None:
        """Whoever is new begins at version 0, which is below what the restore has withdrawn."""
        owner = world.tenant("Acme")
        restore(world, back_up(world, owner, tmp_path))
        now = again(world, owner)
        switched_at = utc_now()
        time.sleep(1)  # a token's time is in whole seconds
        record = {"_id": f"{owner.tenant_id}/"}
        changes = {"$set": {"issuedUntil": switched_at}}  # as if some seconds had gone by
        assert world.admin_db["revocations"].update_one(record, changes).matched_count == 1
        ben = world.colleague(now, "member")
        assert ben.get("/api/users/me").status_code == 200
        refusal(owner.get("/api/users/me"), 401, "token_revoked")

    def test_an_invitation_that_was_withdrawn_since_stays_so(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        invited = [
            answer(owner.post("/api/users", {"email": f"{name}@acme.example"}))
            for name in ("ben", "cleo")
        ]
        directory = back_up(world, owner, tmp_path)
        anew = owner.post(f"/api/users/{invited[0]['id']}/invitation")
        assert anew.status_code == 201

        restore(world, directory)

        answers = [
            world.client.post(
                "/api/invitations/accept",
                json={"token": one["invitationToken"], "password": PASSWORD},
            ).status_code
            for one in invited
        ]
        assert answers == [401, 200]

    @pytest.mark.slow
    def test_a_change_of_a_user_that_is_under_way_is_not_lost_between_the_databases(
        self, world: World, tmp_path: Path
    ) -> None:
        """It was given the old database, and writes to the admin database when that is not the
        tenant's any more."""
        owner = world.tenant("Acme")
        ben = world.colleague(owner, "member")
        directory = back_up(world, owner, tmp_path)
        with world.platform.connections.lease(ObjectId(owner.tenant_id)) as lease:
            old, db = lease.tenant, lease.database
            restore(world, directory)
            with pytest.raises(DomainError) as refused:
                write_both(
                    world.platform.connections,
                    old,
                    db,
                    in_tenant=lambda db: db["users"].delete_one({"_id": ObjectId(ben.user_id)}),
                    in_admin=lambda: pytest.fail("this must not be reached"),
                    seconds=5,
                )
        assert refused.value.code == "tenant_maintenance"
        assert db["users"].find_one({"_id": ObjectId(ben.user_id)})
        assert memberships(world, owner.tenant_id) == users(world.db_of(owner.tenant_id))


class TestMeanwhile:
    def test_the_tenant_refuses_requests_and_others_do_not(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        acme, globex = world.tenant("Acme"), world.tenant("Globex")
        directory = back_up(world, acme, tmp_path)
        seen: list[Any] = []
        real = RESTORATION.bring_up_to_date

        def look(db: Any) -> Any:
            refused = acme.get("/api/to-do-list")
            seen.append(refusal(refused, 503, "tenant_maintenance"))
            assert refused.headers["Retry-After"]
            seen.append(globex.get("/api/to-do-list").status_code)
            seen.append(world.record(acme.tenant_id)["status"])
            return real(db)

        monkeypatch.setattr(RESTORATION, "bring_up_to_date", look)
        restore(world, directory)
        assert seen[1:] == [200, "maintenance"]
        assert world.record(acme.tenant_id)["status"] == "active"
        assert "maintenanceUntil" not in world.record(acme.tenant_id)

    def test_maintenance_ends_by_itself_when_nobody_renews_it(self, world: World) -> None:
        owner = world.tenant("Acme")
        changes = {"status": "maintenance", "maintenanceUntil": utc_now() + timedelta(seconds=0.5)}
        world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": changes})
        eventually(lambda: owner.get("/api/users/me").status_code == 503)
        eventually(lambda: owner.get("/api/users/me").status_code == 200)

    def test_a_suspended_tenant_stays_so_and_a_deleted_one_is_refused(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        path = f"/api/tenants/{owner.tenant_id}"
        world.operator.post(f"{path}/suspend")
        restore(world, directory)
        assert world.record(owner.tenant_id)["status"] == "suspended"
        world.operator.delete(path)
        with pytest.raises(Conflict, match="deleted"):
            restore(world, directory)

    def test_a_tenant_that_was_activated_meanwhile_is_not_switched(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has been served since, so what was written would be lost."""
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        before = world.record(owner.tenant_id)["dbName"]
        real = RESTORATION.prepare_users

        def activate(*args: Any) -> Any:
            path = f"/api/tenants/{owner.tenant_id}/activate"
            assert world.operator.post(path).status_code == 200
            todo(owner, "acknowledged")
            return real(*args)

        monkeypatch.setattr(RESTORATION, "prepare_users", activate)
        with pytest.raises(Conflict, match="changed meanwhile"):
            restore(world, directory)
        assert world.record(owner.tenant_id)["dbName"] == before
        assert titles(owner) == ["acknowledged"]

    @pytest.mark.parametrize("how", ["expired", "suspended again"])
    def test_a_tenant_that_may_have_been_served_meanwhile_is_not_switched(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        """The restoring process was asleep, and does not know."""
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        before = world.record(owner.tenant_id)["dbName"]
        real = RESTORATION.prepare_users
        changes: dict[str, Any] = {"maintenanceUntil": utc_now()}
        if how == "suspended again":
            world.operator.post(f"/api/tenants/{owner.tenant_id}/suspend")
            changes = {"suspendedAt": utc_now() + timedelta(seconds=1)}

        def sleep(*args: Any) -> Any:
            world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": changes})
            return real(*args)

        monkeypatch.setattr(RESTORATION, "prepare_users", sleep)
        with pytest.raises(Conflict):
            restore(world, directory)
        assert world.record(owner.tenant_id)["dbName"] == before

    def test_two_at_once_happen_one_after_another(
        self, world: World, tmp_path: Path, run_together: Any
    ) -> None:
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        results = run_together([lambda: restore(world, directory)] * 2)
        assert {type(result) for result in results} == {Restored}
        assert len({result.db_name for result in results}) == 2
        assert world.record(owner.tenant_id)["dbName"] in {one.db_name for one in results}
        assert len(world.platform.restoration.kept(ObjectId(owner.tenant_id))) == 2


class TestTheWayBack:
    def test_undo_takes_the_tenant_back_and_again_forward(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        todo(owner, "before")
        directory = back_up(world, owner, tmp_path)
        todo(owner, "after")
        ben = world.colleague(owner, "member")
        first = world.record(owner.tenant_id)["dbName"]
        second = restore(world, directory).db_name

        undone = world.platform.restoration.undo(ObjectId(owner.tenant_id), Actor.on_command_line())

        assert (undone.db_name, undone.kept_db_name) == (first, second)
        assert len(undone.users.back) == 1
        assert sorted(titles(again(world, owner))) == ["after", "before"]
        assert again(world, ben).get("/api/users/me").status_code == 200
        assert memberships(world, owner.tenant_id) == users(world.db_of(owner.tenant_id))
        world.platform.restoration.undo(ObjectId(owner.tenant_id), Actor.on_command_line())
        assert titles(again(world, owner)) == ["before"]
        assert world.record(owner.tenant_id)["dbName"] == second

    def test_the_kept_database_goes_when_that_is_confirmed_or_long_ago(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        directory = back_up(world, owner, tmp_path)
        tenant_id, actor = ObjectId(owner.tenant_id), Actor.on_command_line()
        first = restore(world, directory).kept_db_name
        assert world.platform.restoration.confirm(tenant_id, actor) == [first]
        assert first not in world.databases()

        second = restore(world, directory).kept_db_name
        assert find(world) == []
        long_ago = utc_now() - timedelta(days=31)
        world.admin_db["provisionings"].update_many({}, {"$set": {"startedAt": long_ago}})
        (garbage,) = find(world)
        assert (garbage.kind, garbage.name) == ("replaced database", second)
        assert garbage.remove()
        assert second not in world.databases()
        assert again(world, owner).get("/api/users/me").status_code == 200
        with pytest.raises(DomainError, match="is kept"):
            world.platform.restoration.undo(tenant_id, actor)

    def test_a_purge_takes_the_kept_databases_with_it(self, world: World, tmp_path: Path) -> None:
        owner = world.tenant("Acme")
        restored = restore(world, back_up(world, owner, tmp_path))
        path = f"/api/tenants/{owner.tenant_id}"
        world.operator.delete(path)
        gone = answer(world.operator.post(f"{path}/purge", {"confirm": "Acme"}))["gone"]
        assert gone["replacedDatabases"] is True
        assert all(gone.values())
        assert not {restored.db_name, restored.kept_db_name} & world.databases()

    def test_gc_never_drops_what_a_tenants_record_names(self, world: World, tmp_path: Path) -> None:
        """Whatever the notes say: the admin database may be older than the data."""
        owner = world.tenant("Acme")
        restored = restore(world, back_up(world, owner, tmp_path))
        long_ago = utc_now() - timedelta(days=31)
        lies = {"startedAt": long_ago, "dbName": restored.db_name}
        world.admin_db["provisionings"].update_many({}, {"$set": lies})
        (garbage,) = find(world)
        assert garbage.remove() is False
        assert restored.db_name in world.databases()
        world.admin_db["provisionings"].delete_many({})
        world.admin_db.client.drop_database(restored.kept_db_name)


def test_a_dedicated_tenant_gets_a_mongodb_user_in_each_database(
    world: World, tmp_path: Path
) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    todo(owner, "before")
    directory = back_up(world, owner, tmp_path)
    todo(owner, "after")
    restored = restore(world, directory)
    assert titles(again(world, owner)) == ["before"]
    assert world.record(owner.tenant_id)["isolation"] == "dedicated"
    assert len(list_users(world.db_of(owner.tenant_id)) or ()) == 1
    tenant_id, actor = ObjectId(owner.tenant_id), Actor.on_command_line()
    world.platform.restoration.undo(tenant_id, actor)
    assert sorted(titles(again(world, owner))) == ["after", "before"]
    world.platform.restoration.confirm(tenant_id, actor)
    assert list_users(world.admin_db.client[restored.db_name]) == set()


class TestOnAServerOfItsOwn:
    @pytest.fixture
    def world(self, make_world: MakeWorld) -> World:
        return make_world(tenant_stale_seconds=0.1, tenant_uri_allowed_hosts="127.0.0.1")

    @pytest.mark.slow
    def test_it_takes_an_empty_database_there(
        self, world: World, their_uri: str, theirs: Client, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme", dbUri=their_uri)
        todo(owner, "before")
        directory = back_up(world, owner, tmp_path)
        assert not list(directory.glob("owner.*"))
        todo(owner, "after")
        with pytest.raises(Conflict, match="server of its own"):
            restore(world, directory)
        theirs["acme"].command(
            "grantRolesToUser", "theirs", roles=[{"role": "readWrite", "db": "acme2"}]
        )
        try:
            restore(world, directory, uri=their_uri.replace("/acme?", "/acme2?"))
            record = world.record(owner.tenant_id)
            assert (record["dbName"], record["cluster"]) == ("acme2", "external")
            assert titles(again(world, owner)) == ["before"]
            tenant_id, actor = ObjectId(owner.tenant_id), Actor.on_command_line()
            world.platform.restoration.undo(tenant_id, actor)
            assert sorted(titles(again(world, owner))) == ["after", "before"]
            world.platform.restoration.confirm(tenant_id, actor)
            assert theirs["acme2"].list_collection_names() == []
            assert theirs["acme"]["todos"].count_documents({}) == 2
            assert all(purge(world, owner).values())
        finally:
            theirs["acme"].command(
                "revokeRolesFromUser", "theirs", roles=[{"role": "readWrite", "db": "acme2"}]
            )
            theirs.drop_database("acme2")

    def test_its_present_database_is_not_taken_for_an_empty_one_and_stays(
        self, world: World, their_uri: str, theirs: Client, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme", dbUri=their_uri)
        todo(owner, "mine")
        directory = back_up(world, owner, tmp_path)
        with pytest.raises(DomainError, match="belongs to another tenant"):
            restore(world, directory, uri=their_uri)
        assert titles(owner) == ["mine"]
        assert world.admin_db["provisionings"].count_documents({}) == 0
        purge(world, owner)

    def test_one_on_the_platforms_servers_takes_no_uri(
        self, world: World, their_uri: str, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        with pytest.raises(Conflict):
            restore(world, back_up(world, owner, tmp_path), uri=their_uri)


class TestMigrations:
    def test_those_that_the_backup_lacks_are_run(
        self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme")
        db = world.db_of(owner.tenant_id)
        db["migrations"].delete_one({"_id": 5})
        db["settings"].drop()
        directory = back_up(world, owner, tmp_path)
        assert StoredBackup(directory).manifest.schema_version == 4
        restore(world, directory)
        db = world.db_of(owner.tenant_id)
        assert "key_1" in db["settings"].index_information()
        assert db["migrations"].count_documents({}) == 5
        assert world.record(owner.tenant_id)["schemaVersion"] == 5

    def test_a_backup_of_a_later_release_is_refused_whatever_its_manifest_says(
        self, world: World, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        db = world.db_of(owner.tenant_id)
        db["migrations"].insert_one({"_id": 7})
        directory = back_up(world, owner, tmp_path / "a")
        with pytest.raises(BackupError, match=r"does not know \(\[7\]\)"):
            restore(world, directory)
        db["migrations"].insert_one({"_id": 6})
        with pytest.raises(BackupError, match="schema version 7"):
            StoredBackup(back_up(world, owner, tmp_path / "b"))
        assert world.record(owner.tenant_id)["status"] == "active"


class TestTheCommand:
    def test_it_asks_verifies_restores_and_undoes(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        owner = world.tenant("Acme")
        todo(owner, "before")
        directory = back_up(world, owner, tmp_path / "b", gzipped=True)
        todo(owner, "after")
        before = world.record(owner.tenant_id)["dbName"]

        multitenant("restore", directory, "--into-tenant", "acme", code=1)  # nobody says yes
        assert world.record(owner.tenant_id)["dbName"] == before
        result = multitenant("restore", directory, "--into-tenant", "acme", "--yes", "--json")

        assert told(result)["keptDbName"] == before
        assert told(result)["dbName"] == world.record(owner.tenant_id)["dbName"]
        assert titles(again(world, owner)) == ["before"]
        undone = multitenant("restore", "--undo", "Acme", "--yes")
        assert f"has the database {before} now" in undone.output
        dropped = told(multitenant("restore", "--confirm", owner.tenant_id, "--yes", "--json"))
        assert len(dropped["dropped"]) == 1

    def test_another_tenants_backup_is_refused(
        self, world: World, multitenant: Multitenant, tmp_path: Path
    ) -> None:
        acme, globex = world.tenant("Acme"), world.tenant("Globex")
        directory = back_up(world, acme, tmp_path / "b")
        before = world.record(globex.tenant_id)
        result = multitenant("restore", directory, "--into-tenant", "Globex", "--yes", code=1)
        assert isinstance(result.exception, Exception)
        assert "never gets another one's data" in str(result.exception)
        assert world.record(globex.tenant_id) == before

    @pytest.mark.parametrize(
        "args",
        [
            ["--undo", "acme", "--confirm", "acme"],
            ["."],
            ["--into-tenant", "acme"],
            [".", "--undo", "acme"],
            [".", "--into-tenant", "acme", "--subdomain", "x"],
        ],
    )
    def test_what_does_not_fit_together_is_told(
        self, multitenant: Multitenant, args: list[str]
    ) -> None:
        multitenant("restore", *args, code=2)
