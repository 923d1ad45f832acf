"""A tenant's database that has lost what provisioning wrote, or that is another tenant's, is
refused by everything that would work with it, until somebody has put it right."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError
from werkzeug.test import TestResponse

from multitenant.errors import DatabaseLost
from multitenant.migrations.admin import m0003_one_database_each
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.platform_access import tenant_database
from tests.conftest import MakeWorld
from tests.integration.backups import back_up, restore
from tests.integration.conftest import Command
from tests.integration.test_doctor import failed, told
from tests.support import PASSWORD, User, World, answer, eventually, refusal

Client = MongoClient[dict[str, Any]]
TITLE = {"title": "Buy milk"}


def forget(world: World, owner: User) -> None:
    """Let the next request look at the tenant anew, as in a process that has just started."""
    world.platform.connections.evict(ObjectId(owner.tenant_id))


@contextmanager
def logged() -> Iterator[list[str]]:
    """Collect what is logged as an error."""
    messages: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("multitenant").addHandler(handler)
    try:
        yield messages
    finally:
        logging.getLogger("multitenant").removeHandler(handler)


def drop(db: MongoDatabase) -> None:
    db.client.drop_database(db.name)


def drop_and_write(db: MongoDatabase) -> None:
    """What a request does that was under way."""
    drop(db)
    db["todos"].insert_one(TITLE.copy())


def drop_history(db: MongoDatabase) -> None:
    db["migrations"].drop()


def empty_history(db: MongoDatabase) -> None:
    db["migrations"].delete_many({})


def drop_users(db: MongoDatabase) -> None:
    db["users"].drop()


def empty_users(db: MongoDatabase) -> None:
    db["users"].delete_many({})


LOSSES = [drop, drop_and_write, drop_history, empty_history, drop_users, empty_users]


@pytest.mark.parametrize("lose", LOSSES, ids=lambda lose: lose.__name__)
def test_requests_are_refused_and_the_operators_are_told(
    shared: World, mongo: Client, lose: Callable[[MongoDatabase], None]
) -> None:
    name = lose.__name__.replace("_", "")
    owner = shared.tenant(name)
    db = mongo[shared.record(owner.tenant_id)["dbName"]]
    lose(db)
    forget(shared, owner)

    with logged() as messages:
        for response in (
            owner.get("/api/to-do-list"),
            owner.post("/api/to-do-list", TITLE),
            owner.get("/api/users/me"),
            login(shared, name),
            shared.operator.get(f"/api/tenants/{owner.tenant_id}/usage"),
        ):
            refusal(response, 503, "database_unavailable")
            assert int(response.headers["Retry-After"]) > 0
            assert db.name not in response.text
    assert any(db.name in message and "restore" in message for message in messages)
    assert db["todos"].count_documents({}) <= 1, "a refused request has written"
    remove(shared, owner)


def remove(world: World, owner: User) -> None:
    """Purge the owner's tenant: its database is gone."""
    path = f"/api/tenants/{owner.tenant_id}"
    name = world.record(owner.tenant_id)["name"]
    assert world.operator.delete(path).status_code == 200
    assert world.operator.post(f"{path}/purge", {"confirm": name}).status_code == 200
    world.admin_db["provisionings"].delete_one({"_id": ObjectId(owner.tenant_id)})


def login(world: World, name: str) -> TestResponse:
    body = {"email": f"owner@{name.lower()}.example", "password": PASSWORD}
    return world.client.post("/api/login", json=body)


def test_what_is_dropped_while_it_is_served_is_noticed_soon(shared: World, mongo: Client) -> None:
    owner = shared.tenant("Served")
    assert owner.post("/api/to-do-list", TITLE).status_code == 201
    drop(mongo[shared.record(owner.tenant_id)["dbName"]])

    eventually(lambda: owner.post("/api/to-do-list", TITLE).status_code != 201)
    refusal(owner.post("/api/to-do-list", TITLE), 503, "database_unavailable")
    remove(shared, owner)


def test_other_tenants_of_a_user_can_be_logged_in_to(shared: World, mongo: Client) -> None:
    email = "both@example.com"
    lost = shared.tenant("Lost", email=email)
    sound = shared.tenant("Sound", email=email)
    drop(mongo[shared.record(lost.tenant_id)["dbName"]])
    forget(shared, lost)
    assert shared.login(email).tenant_id == sound.tenant_id
    remove(shared, lost)


@pytest.mark.parametrize("lose", [drop, drop_and_write, drop_users], ids=lambda it: it.__name__)
def test_nothing_is_done_with_it(
    world: World, mongo: Client, command: Command, tmp_path: Path, lose: Callable[..., None]
) -> None:
    """Neither a backup, which would be of what is left, nor a repair, which would hide the loss."""
    owner = world.tenant("Acme")
    record = world.record(owner.tenant_id)
    directory = back_up(world, owner, tmp_path / "good")
    db = mongo[record["dbName"]]
    lose(db)
    before = sorted(db.list_collection_names())
    older = {"$set": {"schemaVersion": record["schemaVersion"] - 1}}
    world.admin_db["tenants"].update_one({"_id": record["_id"]}, older)

    for arguments in (
        ("backup", "--tenant", "Acme", "--output", str(tmp_path / "bad")),
        ("migrations", "run"),
        ("migrations", "status", "--indexes", "--repair"),
        ("migrations", "rollback", "--to", "3", "--yes"),
        ("clone", "Acme", "Acme again"),
    ):
        result = command(*arguments)
        assert result.exit_code != 0, arguments
        assert db.name in f"{result.output} {result.exception}", arguments
        assert sorted(db.list_collection_names()) == before, arguments
    assert not list((tmp_path / "bad").glob(f"*{owner.tenant_id}*"))
    assert world.admin_db["tenants"].count_documents({"name": "Acme again"}) == 0
    response = world.operator.patch(f"/api/tenants/{owner.tenant_id}", {"isolation": "dedicated"})
    refusal(response, 503, "database_unavailable")

    result = command("doctor", "--json")
    assert failed(result) == {"missing databases", "tenants' indexes"}
    assert f"Acme ({db.name})" in told(result)["missing databases"]["found"]
    assert "--repair" not in told(result)["tenants' indexes"]["mend"]

    restored = restore(world, directory)
    assert login(world, "Acme").status_code == 200
    world.platform.restoration.confirm(restored.tenant_id, Actor.on_command_line())
    assert command("migrations", "run").exit_code == 0  # the operators' was rolled back
    assert failed(command("doctor", "--json")) == set()


def test_a_lost_tenant_can_be_purged(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme")
    drop_and_write(mongo[world.record(owner.tenant_id)["dbName"]])
    path = f"/api/tenants/{owner.tenant_id}"
    assert world.operator.delete(path).status_code == 200
    gone = answer(world.operator.post(f"{path}/purge", {"confirm": "Acme"}))["gone"]
    assert set(gone.values()) == {True}


def share_one_database(world: World, mongo: Client) -> tuple[User, User]:
    """Edit the record of Globex, which names Acme's database then."""
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    assert acme.post("/api/to-do-list", {"title": "Acme's secret"}).status_code == 201
    assert globex.get("/api/to-do-list").status_code == 200
    tenants = mongo[world.admin_db.name]["tenants"]
    with pytest.raises(DuplicateKeyError):
        point(tenants.database, globex, world.record(acme.tenant_id)["dbName"])
    tenants.drop_index(m0003_one_database_each.INDEX)
    mongo.drop_database(world.record(globex.tenant_id)["dbName"])
    point(tenants.database, globex, world.record(acme.tenant_id)["dbName"])
    forget(world, globex)
    return acme, globex


def point(admin_db: MongoDatabase, owner: User, db_name: str) -> None:
    changed = {"$set": {"dbName": db_name}}
    admin_db["tenants"].update_one({"_id": ObjectId(owner.tenant_id)}, changed)


def test_two_records_with_one_database(
    world: World, mongo: Client, command: Command, tmp_path: Path
) -> None:
    acme, globex = share_one_database(world, mongo)

    for response in (globex.get("/api/to-do-list"), globex.post("/api/to-do-list", TITLE)):
        refusal(response, 503, "database_unavailable")
        assert "secret" not in response.text
    assert acme.get("/api/to-do-list").status_code == 200

    result = command("backup", "--all", "--output", str(tmp_path / "backup"))
    assert result.exit_code == 1
    assert [path.name for path in (tmp_path / "backup").iterdir() if path.name == acme.tenant_id]
    assert not (tmp_path / "backup" / globex.tenant_id).exists()
    result = command("doctor", "--json")
    assert {"missing databases", "admin indexes"} <= failed(result)
    assert "Globex" in told(result)["missing databases"]["found"]
    assert "Acme" not in told(result)["missing databases"]["found"]

    with logged() as messages:
        m0003_one_database_each.up(world.admin_db)
    assert "Acme and Globex" in messages[0]

    path = f"/api/tenants/{globex.tenant_id}"
    assert world.operator.delete(path).status_code == 200
    gone = answer(world.operator.post(f"{path}/purge", {"confirm": "Globex"}))["gone"]
    assert not gone["database"], "it is another tenant's"
    assert len(answer(acme.get("/api/to-do-list"))["items"]) == 1
    world.admin_db["provisionings"].delete_one({"_id": ObjectId(globex.tenant_id)})
    m0003_one_database_each.up(world.admin_db)
    assert m0003_one_database_each.INDEX in world.admin_db["tenants"].index_information()


def test_another_tenants_dump_under_the_name_is_refused(shared: World, mongo: Client) -> None:
    """As after a mongorestore into the wrong database."""
    ours, theirs = shared.tenant("Ours"), shared.tenant("Theirs")
    assert theirs.post("/api/to-do-list", {"title": "Their secret"}).status_code == 201
    db = mongo[shared.record(ours.tenant_id)["dbName"]]
    put_under(mongo[shared.record(theirs.tenant_id)["dbName"]], db)
    forget(shared, ours)
    refusal(ours.get("/api/to-do-list"), 503, "database_unavailable")

    db["migrations"].update_many({}, {"$unset": {"tenantId": ""}})
    refusal(ours.get("/api/to-do-list"), 503, "database_unavailable")
    assert "tenantId" not in (db["migrations"].find_one({"_id": 1}) or {})


def put_under(source: MongoDatabase, target: MongoDatabase) -> None:
    """Let the target hold what the source holds."""
    target.client.drop_database(target.name)
    for name in source.list_collection_names():
        if documents := list(source[name].find()):
            target[name].insert_many(documents)


def test_a_database_of_the_release_before_gets_its_identity(shared: World, mongo: Client) -> None:
    owner = shared.tenant("Older")
    migrations = mongo[shared.record(owner.tenant_id)["dbName"]]["migrations"]
    migrations.update_many({}, {"$unset": {"tenantId": ""}})
    forget(shared, owner)

    assert owner.post("/api/to-do-list", TITLE).status_code == 201

    first = migrations.find_one({"_id": 1})
    assert first is not None
    assert first["tenantId"] == ObjectId(owner.tenant_id)


def test_copies_have_their_own_identity(
    world: World, mongo: Client, command: Command, tmp_path: Path
) -> None:
    owner = world.tenant("Acme")
    directory = back_up(world, owner, tmp_path)
    assert command("clone", "Acme", "Twin").exit_code == 0
    assert command("restore", str(directory), "--as-new", "Third").exit_code == 0
    restore(world, directory)
    found = {
        record["name"]: first["tenantId"] == record["_id"]
        for record in world.admin_db["tenants"].find()
        if (first := mongo[record["dbName"]]["migrations"].find_one({"_id": 1}))
    }
    assert found == {"operators": True, "Acme": True, "Twin": True, "Third": True}


def test_an_undo_does_not_lead_to_a_database_that_is_gone(
    world: World, mongo: Client, tmp_path: Path
) -> None:
    owner = world.tenant("Acme")
    restored = restore(world, back_up(world, owner, tmp_path))
    mongo.drop_database(restored.kept_db_name)
    with pytest.raises(DatabaseLost):
        world.platform.restoration.undo(restored.tenant_id, Actor.on_command_line())
    assert login(world, "Acme").status_code == 200
    world.admin_db["provisionings"].delete_many({"tenantId": restored.tenant_id})


@pytest.mark.usefixtures("blue")
def test_a_lost_tenant_is_not_moved(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme", cluster="default")
    drop_and_write(mongo[world.record(owner.tenant_id)["dbName"]])
    with pytest.raises(DatabaseLost):
        world.platform.moves.move(ObjectId(owner.tenant_id), Actor.on_command_line(), to="blue")
    assert world.record(owner.tenant_id)["cluster"] == "default"


def test_a_tenants_own_server_that_was_emptied(
    make_world: MakeWorld, theirs: Client, their_uri: str
) -> None:
    world = make_world(tenant_uri_allowed_hosts="127.0.0.1")
    owner = world.tenant("Acme", dbUri=their_uri)
    assert owner.post("/api/to-do-list", TITLE).status_code == 201
    theirs["acme"]["users"].delete_many({})
    forget(world, owner)
    refusal(owner.get("/api/to-do-list"), 503, "database_unavailable")
    record = world.record(owner.tenant_id)
    with (
        pytest.raises(DatabaseLost, match="users"),
        tenant_database(world.platform.connections, world.platform.cipher, record),
    ):
        pytest.fail("it was opened")
