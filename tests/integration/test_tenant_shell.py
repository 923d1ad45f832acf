"""`multitenant tenants shell`: one tenant's database, and no other."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from multitenant.repositories.model import utc_now
from multitenant.tenancy.deployments.database_users import MADE_AT
from tests.integration.conftest import Command
from tests.integration.test_dedicated import user_of, users_of
from tests.integration.test_garbage import find
from tests.integration.test_tenants_command import audited, failed
from tests.support import World, answer, eventually

ROOT = Path(__file__).parents[2]


def test_it_reads_and_writes_the_tenants_database(world: World, command: Command) -> None:
    owner = world.tenant("Acme")
    answer(owner.post("/api/to-do-list", {"title": "Buy anvils"}))
    shell = ("tenants", "shell", "acme")
    counted = command(*shell, "-c", "db.todos.count_documents({})")
    assert (counted.exit_code, counted.stdout) == (0, "1\n")
    script = """
from bson import ObjectId as Id
for todo in db.todos.find():
    print(todo["title"], tenant["name"])
assert ObjectId is Id
print(repositories.users.find_user_by_email(db, "owner@acme.example")["role"])
db.todos.update_many({}, {"$set": {"title": "Sell donuts"}})
in_transaction(db, lambda: db.todos.update_many({}, {"$set": {"done": True}}))
"""
    mended = command(*shell, input=script)
    assert (mended.exit_code, mended.stdout) == (0, "Buy anvils Acme\nowner\n")
    (item,) = answer(owner.get("/api/to-do-list"))["items"]
    assert (item["title"], item["done"]) == ("Sell donuts", True)
    assert users_of(world.db_of(owner.tenant_id)) == set()


ELSEWHERE = """
from pymongo.errors import OperationFailure
FAILED_TO_PARSE = 9  # $lookup reads no other database at all
for name in {names!r}:
    for attempt in (
        lambda: db.client[name].users.find_one(),
        lambda: db.client[name].users.insert_one({{}}),
        lambda: db.client[name].list_collection_names(),
        lambda: db.client.drop_database(name),
        lambda: list(db.todos.aggregate([{{"$out": {{"db": name, "coll": "x"}}}}])),
        lambda: list(db.todos.aggregate([{{"$lookup": {{
            "from": {{"db": name, "coll": "users"}}, "pipeline": [], "as": "x"}}}}])),
        lambda: db.client[name].command("createUser", "me", pwd="me", roles=["readWrite"]),
        lambda: db.command("createUser", "me", pwd="me", roles=[{{"role": "read", "db": name}}]),
        lambda: db.client[name].watch(),
    ):
        try:
            attempt()
        except OperationFailure as error:
            assert error.code in (13, FAILED_TO_PARSE), error
        else:
            print("got to", name)
print(*db.client.list_database_names())
"""


@pytest.mark.parametrize("isolation", ["shared", "dedicated"])
@pytest.mark.parametrize("options", [(), ("--read-only",)])
def test_mongodb_refuses_every_other_database(
    world: World, command: Command, isolation: str, options: tuple[str, ...]
) -> None:
    acme, globex = world.tenant("Acme", isolation=isolation), world.tenant("Globex")
    names = [world.record(globex.tenant_id)["dbName"], world.admin_db.name, "admin", "config"]
    script = ELSEWHERE.format(names=names)
    tried = command("tenants", "shell", "acme", *options, input=script)
    assert tried.exit_code == 0, tried.output
    assert tried.stdout.split() == [world.record(acme.tenant_id)["dbName"]]


def test_read_only_means_that_mongodb_refuses_to_write(world: World, command: Command) -> None:
    owner = world.tenant("Acme")
    shell = ("tenants", "shell", "acme", "--read-only")
    refused = command(*shell, "-c", "db.todos.insert_one({})")
    assert refused.exit_code == 1
    assert "not authorized" in refused.stderr
    assert command(*shell, "-c", "db.todos.count_documents({})").stdout == "0\n"
    assert users_of(world.db_of(owner.tenant_id)) == set(), "whatever the code did"


def test_the_audit_log_has_who_and_with_which_rights(world: World, command: Command) -> None:
    owner = world.tenant("Acme")
    command("tenants", "shell", "acme", "--read-only", "-c", "1")
    entry = audited(world, "tenant.shell")
    assert (entry["tenantId"], entry["outcome"]) == (owner.tenant_id, "success")
    assert entry["osUser"]
    used = entry["details"].pop("databaseUser")
    assert used.startswith("tenant-")
    assert entry["details"] == {"role": "read", "through": "command"}


def test_nothing_that_the_shell_knows_has_a_secret(world: World, command: Command) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    shown = command("tenants", "shell", "acme", "-c", "repr(dict(globals()))").stdout
    assert user_of(world, owner).password not in shown
    assert "mongodb://" not in shown
    assert world.platform.settings.jwt_secret_keys[0].get_secret_value() not in shown


def test_a_tenant_on_a_server_of_its_own(
    make_world: Any,
    command: Command,
    their_uri: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TENANT_URI_ALLOWED_HOSTS", "127.0.0.1")
    world = make_world(tenant_uri_allowed_hosts="127.0.0.1")
    owner = world.tenant("Acme", dbUri=their_uri)
    owner.post("/api/to-do-list", {"title": "x"})
    counted = command("tenants", "shell", "acme", "-c", "db.todos.count_documents({})")
    assert counted.stdout == "1\n"
    only = command("tenants", "shell", "acme", "--read-only", "-c", "1")
    assert "the rights that its dbUri has" in failed(only)
    command("tenants", "delete", "acme", "--yes")
    command("tenants", "purge", "acme", "--yes", "--confirm", "Acme")


def test_without_the_right_to_make_users_there_is_no_shell(
    world: World, command: Command, mongod: Any, mongo: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tenant("Acme")
    roles = ["readWriteAnyDatabase", "dbAdminAnyDatabase"]
    mongo.admin.command("createUser", "weak", pwd="weak", roles=roles)
    try:
        uri = f"mongodb://weak:weak@127.0.0.1:{mongod._port}/?authSource=admin"
        monkeypatch.setenv("ADMIN_DB_URI", uri)
        refused = command("tenants", "shell", "acme", "-c", "1")
        assert "userAdminAnyDatabase" in failed(refused)
    finally:
        mongo.admin.command("dropUser", "weak")


class Terminal:
    """The shell in a process of its own, at a terminal."""

    def __init__(self, environment: dict[str, str], directory: Path, *arguments: str) -> None:
        self._mine, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "multitenant", "tenants", "shell", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=directory,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TERM": "dumb"} | environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""
        self._read = 0

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def wait_for(self, text: str, seconds: float = 20) -> None:
        """Wait until it shows this, behind what was waited for before."""
        deadline = time.monotonic() + seconds
        while (found := self.shown.find(text, self._read)) < 0:
            assert time.monotonic() < deadline, self.shown
            if select.select([self._mine], [], [], 0.1)[0]:
                self.shown += os.read(self._mine, 65536).decode(errors="replace")
        self._read = found + len(text)

    def __enter__(self) -> "Terminal":
        return self

    def terminate(self) -> None:
        """Send SIGTERM until it ends: readline overlooks one that comes between its prompt and
        its waiting for a key."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None:
            assert time.monotonic() < deadline
            self.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)

    def hang_up(self) -> None:
        """As when its window is closed, or its connection lost."""
        self.process.send_signal(signal.SIGHUP)
        os.close(self._mine)
        self._mine = -1

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        if self._mine >= 0:
            os.close(self._mine)


def test_a_terminal_gets_a_banner_a_prompt_and_completion(
    world: World, environment: dict[str, str], tmp_path: Path
) -> None:
    owner = world.tenant("Acme")
    with Terminal(environment, tmp_path, "acme") as terminal:
        terminal.wait_for(">>> ")
        assert f"Acme: tenant {owner.tenant_id}, active" in terminal.shown
        assert len(users_of(world.db_of(owner.tenant_id))) == 1
        terminal.type("db.todos.count_docu\t{}) + 41\n")
        terminal.wait_for("\n41")
        terminal.wait_for(">>> ")
        terminal.type("1/0\n")
        terminal.wait_for("ZeroDivisionError")
        terminal.wait_for(">>> ")
        terminal.type("\x04")
        assert terminal.process.wait(10) == 0
    assert users_of(world.db_of(owner.tenant_id)) == set()
    assert audited(world, "tenant.shell")["details"]["through"] == "terminal"


@pytest.mark.slow
@pytest.mark.parametrize("by", ["signal", "hangup"])
def test_it_ends_in_order_whatever_ends_it(
    world: World, environment: dict[str, str], tmp_path: Path, by: str
) -> None:
    owner = world.tenant("Acme")
    with Terminal(environment, tmp_path, "acme") as terminal:
        terminal.wait_for(">>> ")
        if by == "signal":
            terminal.terminate()
        else:
            terminal.hang_up()
        terminal.process.wait(10)
    assert users_of(world.db_of(owner.tenant_id)) == set()


@pytest.mark.slow
def test_what_a_killed_shell_leaves_is_collected(
    world: World, environment: dict[str, str], tmp_path: Path, mongo: MongoClient[dict[str, Any]]
) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    db = world.db_of(owner.tenant_id)
    with Terminal(environment, tmp_path, "acme") as terminal:
        terminal.wait_for(">>> ")
        (left,) = users_of(db) - {user_of(world, owner).name}
        db.command("updateUser", left, customData={MADE_AT: utc_now() - timedelta(hours=1)})
        (garbage,) = find(world)
        assert garbage.remove() is False, "somebody works with it"
        assert left in users_of(db)
        terminal.process.kill()
        terminal.process.wait()
    (garbage,) = find(world)
    eventually(garbage.remove)
    assert users_of(db) == {user_of(world, owner).name}
    assert find(world) == []
