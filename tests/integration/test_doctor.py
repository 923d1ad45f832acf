"""`multitenant doctor`: what is wrong is found, named, and comes with how to mend it."""

import importlib
import json
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from click.testing import Result
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer, find_mongod
from multitenant.repositories.admin.clusters import insert_cluster
from multitenant.repositories.model import utc_now
from multitenant.tenancy.operations.doctor import heartbeats as heartbeats_module
from multitenant.tenancy.operations.doctor.doctor import Doctor
from multitenant.tenancy.operations.doctor.heartbeats import Heartbeats
from multitenant.tenancy.operations.doctor.subject import Subject
from tests.conftest import Client, data_directory
from tests.e2e.server import MULTITENANT, ROOT
from tests.integration.conftest import Command
from tests.integration.test_dedicated import users_of
from tests.integration.test_garbage import find
from tests.support import World


def told(result: Result) -> dict[str, dict[str, Any]]:
    """The findings, by check."""
    assert result.stdout, result.exception
    findings = {it["check"]: it for it in json.loads(result.stdout)["findings"]}
    for finding in findings.values():
        if finding["level"] in ("warning", "failure"):
            assert finding["mend"], f"{finding} does not say how to mend it"
    return findings


def levels(result: Result) -> dict[str, str]:
    return {check: finding["level"] for check, finding in told(result).items()}


def failed(result: Result) -> set[str]:
    """The checks that failed; and the exit code says so."""
    failures = {check for check, level in levels(result).items() if level == "failure"}
    assert result.exit_code == (1 if failures else 0)
    return failures


@pytest.fixture
def doctor(command: Command) -> Command:
    return lambda *arguments: command("doctor", "--json", *arguments)


def test_a_sound_platform_passes_and_is_left_as_it_was(world: World, doctor: Command) -> None:
    world.tenant("Acme", isolation="dedicated")
    before = world.databases()

    result = doctor()

    assert failed(result) == set()
    assert set(levels(result).values()) <= {"ok", "warning"}
    assert world.databases() == before
    assert world.admin_db["provisionings"].count_documents({}) == 0


def test_people_get_a_line_for_each_check(world: World, command: Command) -> None:
    lines = command("doctor").stdout.splitlines()
    assert any(line.startswith("ok          reachable (default): 127.0.0.1:") for line in lines)
    assert lines[-1].split()[1] == "ok,"


def test_wrong_settings_are_all_named_and_the_rest_is_not_checked(
    doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "http")
    monkeypatch.setenv("TENANT_DB_PREFIX", "1")
    result = doctor()
    assert failed(result) == {"settings"}
    found = told(result)["settings"]["found"]
    assert "PORT: " in found
    assert "TENANT_DB_PREFIX: " in found
    assert levels(result)["reachable"] == "not checked"


@pytest.mark.slow
def test_nothing_listening_is_said_so_and_the_process_ends_with_1(
    environment: dict[str, str], tmp_path: Path
) -> None:
    uri = {"ADMIN_DB_URI": "mongodb://me:hidden@127.0.0.1:1/"}
    done = subprocess.run(
        (*MULTITENANT, "doctor", "--timeout", "1"),
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment, **uri},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert "reachable (default): 127.0.0.1:1: nothing listens there" in done.stdout
    assert "not checked migrations: needs what failed: primary, login" in done.stdout
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.slow
def test_a_wrong_password_is_said_so(
    mongod: EmbeddedServer, doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_DB_URI", mongod.uri.replace("multitenant:", "multitenant:hidden"))
    result = doctor("--timeout", "2")
    assert failed(result) == {"login"}
    assert "refuses the user or the password" in told(result)["login"]["found"]
    assert "hidden" not in result.output


@pytest.mark.slow
def test_another_replica_set_than_the_uri_says_is_named(
    mongod: EmbeddedServer, doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_DB_URI", mongod.uri.replace("=embedded", "=rs7"))
    found = told(doctor("--timeout", "1"))["reachable"]["found"]
    assert "belongs to the replica set 'embedded', and the URI says replicaSet=rs7" in found


@pytest.fixture(scope="module")
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """The port and process of a mongod that is no replica set, and that asks for no password."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with data_directory(tmp_path_factory) as directory:
        options = ["--bind_ip", "127.0.0.1", "--nounixsocket", "--wiredTigerCacheSizeGB", "0.3"]
        command = (str(find_mongod()), "--dbpath", str(directory), "--port", str(port), *options)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            with MongoClient[dict[str, Any]]("127.0.0.1", port) as client:
                client.admin.command("ping")
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_a_standalone_server_is_no_replica_set(
    standalone: tuple[int, int], doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_DB_URI", f"mongodb://127.0.0.1:{standalone[0]}/")
    result = doctor()
    assert failed(result) == {"replica set", "migrations"}
    assert "standalone" in told(result)["replica set"]["found"]
    assert "rs.initiate()" in told(result)["replica set"]["mend"]
    assert levels(result)["login"] == "warning"
    assert levels(result)["transactions"] == "not checked"
    monkeypatch.setenv("ADMIN_DB_URI", f"mongodb://127.0.0.1:{standalone[0]}/?replicaSet=rs0")
    found = told(doctor("--timeout", "1"))["reachable"]["found"]
    assert "is a standalone server, and the URI says replicaSet=rs0" in found


@pytest.mark.slow
def test_a_server_that_hangs_does_not_hang_the_doctor(
    standalone: tuple[int, int], doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyMongo alone would wait for ten minutes."""
    port, pid = standalone
    monkeypatch.setenv("ADMIN_DB_URI", f"mongodb://127.0.0.1:{port}/")
    monkeypatch.setenv("OPERATION_TIMEOUT_MS", "600000")
    os.kill(pid, signal.SIGSTOP)
    try:
        result = doctor("--timeout", "1")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert failed(result) == {"reachable"}


@pytest.fixture
def weak_user(
    mongod: EmbeddedServer, mongo: Client, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Make the platform connect as somebody with these roles."""

    def become(*roles: Any) -> None:
        mongo.admin.command("createUser", "weak", pwd="weak", roles=list(roles))
        uri = f"mongodb://weak:weak@127.0.0.1:{mongod._port}/?authSource=admin"
        monkeypatch.setenv("ADMIN_DB_URI", uri)

    yield become
    mongo.admin.command("dropUser", "weak")


def test_a_user_who_may_not_make_databases_is_said_so(
    world: World, doctor: Command, weak_user: Any
) -> None:
    weak_user({"role": "readWrite", "db": world.admin_db.name})
    result = doctor()
    assert failed(result) == {"makes databases"}
    assert "readWriteAnyDatabase" in told(result)["makes databases"]["mend"]
    for skipped in ("members", "connections", "transactions", "orphaned databases"):
        assert levels(result)[skipped] == "not checked"
    assert "clusterMonitor" in told(result)["members"]["mend"]
    assert world.admin_db["provisionings"].count_documents({}) == 0


def test_a_user_who_may_only_read_is_said_so(world: World, doctor: Command, weak_user: Any) -> None:
    weak_user("readAnyDatabase")
    result = doctor()
    assert failed(result) == {"makes databases"}
    assert "may not write to the admin database" in told(result)["makes databases"]["found"]


def test_the_two_roles_are_enough_but_for_dedicated_tenants(
    world: World, doctor: Command, weak_user: Any
) -> None:
    weak_user("readWriteAnyDatabase", "dbAdminAnyDatabase")
    result = doctor()
    assert failed(result) == set()
    assert levels(result)["makes users"] == "warning"
    assert levels(result)["drops databases"] == "ok"


def test_missing_indexes_are_named_and_mended_as_it_says(
    world: World, doctor: Command, command: Command
) -> None:
    owner = world.tenant("Acme")
    world.db_of(owner.tenant_id)["users"].drop_index("email_1")
    world.admin_db["tenantusers"].drop_index("email_1_tenantId_1")
    result = doctor("--all")
    assert failed(result) == {"tenants' indexes", "admin indexes"}
    assert told(result)["tenants' indexes"]["found"] == "Acme: users.email_1 is missing"
    assert "tenantusers.email_1_tenantId_1" in told(result)["admin indexes"]["found"]
    assert command("migrations", "status", "--indexes", "--repair").exit_code == 0
    assert failed(doctor()) == {"admin indexes"}


def test_a_large_fleet_is_sampled(world: World, doctor: Command) -> None:
    for number in range(12):
        assert world.add(name=f"T{number}", email=f"t{number}@t.example").status_code == 201
    assert "a sample of 10 tenants" in told(doctor())["tenants' indexes"]["found"]
    assert "all 13 tenants" in told(doctor("--all"))["tenants' indexes"]["found"]


def test_an_orphaned_database_is_listed_and_stays(
    world: World, doctor: Command, mongo: Client
) -> None:
    name = f"{world.platform.settings.tenant_db_prefix}{ObjectId()}"
    mongo[name]["users"].insert_one({})
    try:
        result = doctor()
        assert failed(result) == set()
        assert told(result)["orphaned databases"]["found"] == f"no tenant's: {name}"
        assert name in world.databases()
    finally:
        mongo.drop_database(name)


def test_a_tenant_without_a_database_is_a_failure(
    world: World, doctor: Command, mongo: Client
) -> None:
    owner = world.tenant("Acme")
    record = world.record(owner.tenant_id)
    mongo.drop_database(record["dbName"])
    result = doctor()
    assert failed(result) == {"missing databases", "tenants' indexes"}
    assert f"Acme ({record['dbName']})" in told(result)["missing databases"]["found"]
    world.admin_db["tenants"].delete_one({"_id": record["_id"]})


def test_a_note_left_over_is_told_with_what_removes_it(
    world: World, doctor: Command, command: Command
) -> None:
    tenant_id = ObjectId()
    name = f"{world.platform.settings.tenant_db_prefix}{tenant_id}"
    note = {"_id": tenant_id, "dbName": name, "cluster": "default", "hasUsers": False}
    long_ago = utc_now() - timedelta(hours=2)
    world.admin_db["provisionings"].insert_one({**note, "startedAt": long_ago, "purged": False})
    result = doctor()
    assert failed(result) == set()
    assert told(result)["left-overs"]["level"] == "warning"
    assert name in told(result)["left-overs"]["found"]
    assert command("tenants", "gc", "--yes").exit_code == 0
    assert levels(doctor())["left-overs"] == "ok"


def test_versions_behind_and_ahead(world: World, doctor: Command) -> None:
    world.admin_db["tenants"].update_one({}, {"$set": {"schemaVersion": 1}})
    assert told(doctor())["tenants' versions"]["mend"] == "run `multitenant migrations run`"
    world.admin_db["tenants"].update_one({}, {"$set": {"schemaVersion": 99}})
    assert failed(doctor()) == {"tenants' versions"}


def test_an_admin_database_without_its_migrations(world: World, doctor: Command) -> None:
    world.admin_db["migrations"].delete_many({})
    result = doctor()
    assert failed(result) == {"migrations"}
    assert "multitenant init" in told(result)["migrations"]["mend"]


@pytest.mark.parametrize(("ahead", "level"), [(0, "ok"), (2, "warning"), (-31, "failure")])
def test_clocks_are_compared(
    world: World,
    doctor: Command,
    monkeypatch: pytest.MonkeyPatch,
    ahead: int,
    level: str,
) -> None:
    class Clock(heartbeats_module.datetime):  # type: ignore[misc, name-defined]
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return super().now(tz) - timedelta(seconds=ahead)

    monkeypatch.setattr(heartbeats_module, "datetime", Clock)
    clock = told(doctor())["clock"]
    assert clock["level"] == level
    if ahead:
        assert ("ahead of" if ahead > 0 else "behind") in clock["found"]


def test_credentials_whose_key_is_gone(
    world: World, doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.tenant("Acme", isolation="dedicated")
    monkeypatch.setenv("CREDENTIAL_KEYS", "quite-another-key-" + "02468ace13579bdf" * 4)
    assert failed(doctor()) == {"credential keys"}


def test_a_port_that_something_else_has(
    world: World, doctor: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PORT", str(taken.getsockname()[1]))
        assert failed(doctor("--timeout", "30")) == {"port"}


def test_every_cluster_is_examined(
    world: World, elsewhere: EmbeddedServer, theirs: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("multitenant.tenancy.operations.doctor.doctor.CHECK_SECONDS", 1.0)
    connections = world.platform.connections
    for cluster, uri in {"second": elsewhere.uri, "third": "mongodb://127.0.0.1:1/"}.items():
        encrypted = world.platform.cipher.encrypt(uri, record_id=cluster, field="uri")
        now = utc_now()
        insert_cluster(
            connections.admin_db,
            cluster,
            uri=encrypted,
            state="open",
            created_at=now,
            updated_at=now,
        )
    name = f"{world.platform.settings.tenant_db_prefix}{ObjectId()}"
    theirs[name]["todos"].insert_one({})
    platform = world.platform
    subject = Subject(platform.settings, connections, platform.cipher, Heartbeats())
    try:
        findings = {
            (it.check, it.cluster): it.verdict for it in Doctor(subject, seconds=20).examine()
        }
    finally:
        theirs.drop_database(name)
    assert findings["drops databases", "second"].level == "ok"
    assert name in findings["orphaned databases", "second"].found
    assert findings["orphaned databases", "default"].level == "ok"
    assert findings["reachable", "third"].level == "failure"
    assert findings["makes databases", "third"].level == "not checked"
    left = [it for it in theirs.list_database_names() if it.startswith(name[:-24])]
    assert left == []


def test_what_a_killed_doctor_leaves_is_collected(world: World) -> None:
    platform = world.platform
    subject = Subject(platform.settings, platform.connections, platform.cipher, Heartbeats())
    subject.scratch.note()
    subject.scratch.db["doctor"].insert_one({})
    long_ago = utc_now() - timedelta(hours=1)
    world.admin_db["provisionings"].update_many({}, {"$set": {"startedAt": long_ago}})
    (garbage,) = find(world)
    assert garbage.name == subject.scratch.db.name
    assert garbage.remove()
    assert subject.scratch.db.name not in world.databases()
    assert users_of(subject.scratch.db) == set()


def test_a_doctor_who_is_interrupted_tidies_up(world: World) -> None:
    platform = world.platform
    before = world.databases()
    subject = Subject(platform.settings, platform.connections, platform.cipher, Heartbeats())
    examination = Doctor(subject, seconds=20).examine()
    for finding in examination:
        if finding.check == "write concern":
            break
    assert len(world.databases()) == len(before) + 1
    examination.close()
    assert world.databases() == before
    assert world.admin_db["provisionings"].count_documents({}) == 0


@pytest.mark.parametrize(("read", "nth"), [("provisionings", 1), ("tenants", 1), ("tenants", 2)])
def test_a_tenant_that_is_purged_while_it_looks_is_no_finding(
    world: World, doctor: Command, monkeypatch: pytest.MonkeyPatch, read: str, nth: int
) -> None:
    """Just after these records were read for the nth time."""
    owner = world.tenant("Acme")
    world.operator.delete(f"/api/tenants/{owner.tenant_id}")
    name = f"multitenant.repositories.admin.{read}.list_db_names"
    module = importlib.import_module(name.rpartition(".")[0])
    real = module.list_db_names
    purged: list[int] = []
    times = iter(range(1, 100))

    def read_and_purge(*arguments: Any) -> Any:
        found = real(*arguments)
        if next(times) == nth:
            path = f"/api/tenants/{owner.tenant_id}/purge"
            purged.append(world.operator.post(path, {"confirm": "Acme"}).status_code)
        return found

    monkeypatch.setattr(name, read_and_purge)
    result = doctor()
    assert purged == [200]
    assert failed(result) == set()
    assert levels(result)["orphaned databases"] == "ok"


def test_a_doctor_works_beside_tenants_that_come_and_go(
    world: World, doctor: Command, mongo: Client
) -> None:
    """A database that is being made is no orphan, and one that is being purged not missing."""
    ended = threading.Event()
    problems: list[str] = []

    def come_and_go() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            added = world.add(name=f"T{number}", email="x@t.example").get_json()
            tenant_id = added["responseObject"]["tenantId"]
            world.operator.delete(f"/api/tenants/{tenant_id}")
            purged = world.operator.post(
                f"/api/tenants/{tenant_id}/purge", {"confirm": f"T{number}"}
            )
            if purged.status_code != 200:
                problems.append(purged.text)

    assert world.operator
    thread = threading.Thread(target=come_and_go)
    thread.start()
    try:
        for _ in range(3):
            result = doctor()
            found = levels(result)
            assert found["orphaned databases"] == "ok", told(result)["orphaned databases"]
            assert found["missing databases"] == "ok", told(result)["missing databases"]
    finally:
        ended.set()
        thread.join()
    assert problems == []
