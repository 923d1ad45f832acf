"""A database that is lost while somebody works on it, and the commands that look into it."""

import json
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.tenancy.deployments import write_permission
from multitenant.tenancy.routing import leases
from tests.conftest import MakeWorld
from tests.integration.conftest import Command
from tests.integration.test_lost_database import drop, drop_and_write, empty_users, remove
from tests.support import PASSWORD, World, answer, eventually, in_thread, refusal

Client = MongoClient[dict[str, Any]]


def test_a_request_that_waited_does_not_make_it_anew(
    shared: World, mongo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked at when the request began; the password took long."""
    owner = shared.tenant("Slow")
    db = mongo[shared.record(owner.tenant_id)["dbName"]]
    hasher = shared.platform.user_administration._hasher
    hash_password = hasher.hash

    def hash_slowly(*args: Any) -> str:
        in_thread(lambda: drop(db))
        return hash_password(*args)

    with monkeypatch.context() as patched:
        patched.setattr(write_permission, "RECHECK_SECONDS", 0)
        patched.setattr(leases, "WRITE_SECONDS", 0)
        patched.setattr(hasher, "hash", hash_slowly)
        added = owner.post("/api/users", {"email": "ben@slow.example", "password": PASSWORD})
    refusal(added, 503, "database_unavailable")
    assert db.name not in mongo.list_database_names()
    remove(shared, owner)


@pytest.mark.parametrize("lose", [drop, drop_and_write, empty_users], ids=lambda it: it.__name__)
def test_no_shell_is_opened_on_it(world: World, mongo: Client, command: Command, lose: Any) -> None:
    owner = world.tenant("Acme")
    db = mongo[world.record(owner.tenant_id)["dbName"]]
    lose(db)
    before = sorted(db.list_collection_names())
    result = command("tenants", "shell", "Acme", "-c", "db.todos.insert_one({})")
    assert result.exit_code != 0
    assert db.name in f"{result.output} {result.exception}"
    assert sorted(db.list_collection_names()) == before
    assert world.admin_db["audit"].count_documents({"action": "tenant.shell"}) == 0
    remove(world, owner)


def test_no_shell_is_opened_on_another_tenants(
    world: World, mongo: Client, command: Command
) -> None:
    """The record names it, since somebody has edited that."""
    acme, globex = world.tenant("Acme"), world.tenant("Globex")
    own, others = (world.record(one.tenant_id)["dbName"] for one in (globex, acme))
    tenants = mongo[world.admin_db.name]["tenants"]
    tenants.drop_indexes()
    tenants.update_one({"name": "Globex"}, {"$set": {"dbName": others}})
    for rights in ([], ["--read-only"]):
        result = command("tenants", "shell", "Globex", *rights, "-c", "list(db.users.find())")
        assert result.exit_code != 0
        assert "owner@acme.example" not in result.output
    tenants.update_one({"name": "Globex"}, {"$set": {"dbName": own}})


def test_no_shell_is_opened_on_a_tenants_own_server_that_was_emptied(
    make_world: MakeWorld,
    their_uri: str,
    theirs: Client,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = make_world(tenant_uri_allowed_hosts="127.0.0.1")
    monkeypatch.setenv("TENANT_URI_ALLOWED_HOSTS", "127.0.0.1")
    owner = world.tenant("Acme", dbUri=their_uri)
    for name in theirs["acme"].list_collection_names():
        theirs["acme"].drop_collection(name)
    result = command("tenants", "shell", "Acme", "-c", "db.todos.insert_one({})")
    assert result.exit_code != 0
    assert theirs["acme"].list_collection_names() == []
    remove(world, owner)


def test_verifying_fails_where_it_could_not_look(
    world: World, mongo: Client, command: Command
) -> None:
    owner = world.tenant("Acme")
    assert command("migrations", "run", "--verify").exit_code == 0
    drop(mongo[world.record(owner.tenant_id)["dbName"]])
    for arguments in (["--verify"], ["--verify", "--dry-run"], ["--verify", "--json"]):
        result = command("migrations", "run", *arguments)
        assert result.exit_code == 1, arguments
        assert "Acme: not verified" in result.stderr
    assert json.loads(result.stdout) == {"toMigrate": []}
    assert command("migrations", "run").exit_code == 0  # there is nothing to migrate
    remove(world, owner)


def test_credentials_that_cannot_be_read_are_replaced(world: World, mongo: Client) -> None:
    """The user whom they were of is left to `tenants gc`."""
    owner = world.tenant("Acme", isolation="dedicated")
    path = f"/api/tenants/{owner.tenant_id}"
    tenants = mongo[world.admin_db.name]["tenants"]
    for method, end, body in (
        ("POST", "/rotate-credentials", None),
        ("PATCH", "", {"isolation": "shared"}),
    ):
        tenants.update_one({"name": "Acme"}, {"$set": {"credentials.ciphertext": "AAAA"}})
        assert world.operator.send(method, path + end, body).status_code == 200
        assert answer(owner.get("/api/users/me"))["id"] == owner.user_id


def test_once_that_was_seen_it_is_not_read_either(shared: World, mongo: Client) -> None:
    """For reading alone it is looked at less often."""
    owner = shared.tenant("Read")
    assert owner.get("/api/to-do-list").status_code == 200
    drop(mongo[shared.record(owner.tenant_id)["dbName"]])
    eventually(lambda: owner.post("/api/to-do-list", {"title": "Lost"}).status_code == 503)
    refusal(owner.get("/api/to-do-list"), 503, "database_unavailable")
    remove(shared, owner)
