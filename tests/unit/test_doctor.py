"""What the doctor says about MongoDBs that are not at hand."""

import threading
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure

from multitenant.config import Settings, load_settings
from multitenant.tenancy.operations.doctor import contents_checks, deployment_checks
from multitenant.tenancy.operations.doctor import doctor as runner
from multitenant.tenancy.operations.doctor.doctor import not_examined
from multitenant.tenancy.operations.doctor.settings_checks import (
    look_at_secret_files,
    look_at_settings,
    look_at_workers,
)
from multitenant.tenancy.operations.doctor.table import (
    OF_ADMIN_DATABASE,
    OF_CLUSTER,
    OF_DEPLOYMENT,
    OF_SETTINGS,
)
from multitenant.tenancy.operations.doctor.verdict import Check, good
from multitenant.tenancy.operations.doctor.words import _meaning
from tests.unit.test_config import PRODUCTION

ALL = (*OF_SETTINGS, *OF_DEPLOYMENT, *OF_ADMIN_DATABASE, *OF_CLUSTER)


def settings(**changes: str) -> Settings:
    return load_settings(PRODUCTION | changes, env_file=None)


class FakeClient:
    """Answers commands with what it was given; raises what is an error."""

    address = ("db.example.com", 27017)
    is_mongos = False

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.admin = self

    def command(self, command: Any, **_: Any) -> Any:
        name = command if isinstance(command, str) else next(iter(command))
        answer = self._answers[name]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def server_info(self) -> Any:
        return {"version": self._answers["version"]}


def subject(client: Any = None, **changes: str) -> Any:
    return SimpleNamespace(
        settings=settings(**changes),
        client=client,
        cluster="default",
        admin_db=None,
        uri_setting="ADMIN_DB_URI",
    )


def test_every_need_is_a_check_that_comes_before() -> None:
    seen: set[str] = set()
    for check in ALL:
        assert set(check.needs) <= seen, check.name
        assert check.name not in seen
        seen.add(check.name)


def test_whatever_is_not_examined_is_told() -> None:
    told = [finding.check for finding in not_examined("why")]
    assert told == [check.name for check in ALL[1:]], "the settings have their own verdict"


@pytest.mark.parametrize(
    ("states", "level"),
    [
        ("PSS", "ok"),
        ("PSD", "warning"),
        ("PDD", "failure"),
        ("PSR", "warning"),
        ("P", "warning"),
        ("PSA", "ok"),
    ],
)
def test_members_that_do_not_work_are_named(states: str, level: str) -> None:
    kinds = {"P": (1, 1, "PRIMARY"), "S": (1, 2, "SECONDARY"), "A": (1, 7, "ARBITER")}
    kinds |= {"D": (0, 8, "(not reachable/healthy)"), "R": (1, 3, "RECOVERING")}
    members = [
        dict(zip(("health", "state", "stateStr"), kinds[it], strict=True), name=f"db{number}")
        for number, it in enumerate(states)
    ]
    status = {"members": members, "majorityVoteCount": len(states) // 2 + 1}
    verdict = deployment_checks.have_majority(subject(FakeClient(replSetGetStatus=status)))
    assert verdict.level == level
    for number, it in enumerate(states):
        assert (f"db{number} is" in verdict.found) == (it in "DR")


@pytest.mark.parametrize(
    ("version", "compatible", "recent", "upgraded"),
    [
        ("6.0.5", "6.0", "ok", "ok"),
        ("8.2.1", "8.0", "ok", "warning"),
        ("6.0.5", "5.0", "ok", "failure"),
        ("5.0.32", "5.0", "failure", "failure"),
        ("10.0.0", "10.0", "ok", "ok"),
    ],
)
def test_versions(version: str, compatible: str, recent: str, upgraded: str) -> None:
    parameter = {"featureCompatibilityVersion": {"version": compatible}}
    client = FakeClient(version=version, getParameter=parameter)
    assert deployment_checks.be_recent(subject(client)).level == recent
    assert deployment_checks.be_upgraded(subject(client)).level == upgraded


@pytest.mark.parametrize(
    ("current", "available", "level"),
    [(10, 15990, "ok"), (10, 400, "warning"), (990, 10, "failure")],
)
def test_connections_are_compared_with_what_workers_may_open(
    current: int, available: int, level: str
) -> None:
    counts = {"current": current, "available": available}
    client = FakeClient(serverStatus={"connections": counts})
    assert deployment_checks.have_connections(subject(client)).level == level


LOG = '{"msg":"Soft rlimits for open file descriptors too low","attr":{"currentValue":1024}}'


@pytest.mark.parametrize(
    ("tenants", "log", "level"),
    [
        (10, [], "ok"),
        (1400, [], "ok"),
        (1500, [], "warning"),
        (10, [LOG], "ok"),
        (25, [LOG], "warning"),
        (10, ["Soft rlimits for open file descriptors too low"], "not checked"),
    ],
)
def test_the_tenants_files_are_compared_with_what_mongod_may_open(
    monkeypatch: pytest.MonkeyPatch, tenants: int, log: list[str], level: str
) -> None:
    counted = "multitenant.repositories.admin.tenants.count_tenants"
    monkeypatch.setattr(counted, lambda *_: tenants)
    status = {"pid": 1, "wiredTiger": {"connection": {"files currently open": 100}}}
    client = FakeClient(serverStatus=status, getLog={"log": log})
    assert contents_checks.look_at_open_files(subject(client)).level == level


@pytest.mark.parametrize(
    ("uri", "environment", "level"),
    [
        ("mongodb://db.example.com/", "production", "warning"),
        ("mongodb://db.example.com/", "development", "ok"),
        ("mongodb://db.example.com/?tls=true", "production", "ok"),
        ("mongodb://db.example.com/?tls=true&tlsInsecure=true", "production", "warning"),
        ("mongodb://127.0.0.1,localhost/", "production", "ok"),
        ("mongodb://127.0.0.1,db.example.com/", "production", "warning"),
    ],
)
def test_what_crosses_a_network_should_be_encrypted(uri: str, environment: str, level: str) -> None:
    with MongoClient[dict[str, Any]](uri, connect=False) as client:
        looked_at = subject(client, MULTITENANT_ENV=environment)
        assert deployment_checks.be_encrypted(looked_at).level == level


def test_development_on_another_machine_is_told() -> None:
    development = {"MULTITENANT_ENV": "development"}
    assert look_at_settings(subject()).level == "ok"
    assert look_at_settings(subject(**development)).level == "warning"
    local = {"ADMIN_DB_URI": "mongodb://localhost,127.0.0.1:1/"}
    assert look_at_settings(subject(**development, **local)).level == "ok"


def test_workers_that_wait_for_each_other_or_are_too_many() -> None:
    assert look_at_workers(subject(WORKERS="1")).level == "ok"
    assert look_at_workers(subject(WORKER_CLASS="gthread", THREADS="32")).level == "warning"
    assert look_at_workers(subject(WORKERS="256")).level == "warning"


def test_files_that_others_may_read_are_named(tmp_path: Any) -> None:
    looked_at = subject(INSTANCE_PATH=str(tmp_path))
    (tmp_path / "operator-password").touch(0o600)
    assert look_at_secret_files(looked_at).level == "ok"
    (tmp_path / "operator-password").chmod(0o640)
    assert "operator-password" in look_at_secret_files(looked_at).found
    assert look_at_secret_files(subject(INSTANCE_PATH=str(tmp_path / "none"))).level == "ok"


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ("db:1: [Errno 111] Connection refused (configured timeouts: x)", "nothing listens"),
        ("db:1: [Errno -2] Name or service not known", "name is not known"),
        ("SSL handshake failed: db:1: [SSL: CERTIFICATE_VERIFY_FAILED] certificate", "trusts"),
        ("SSL handshake failed: db:1: [SSL: WRONG_VERSION_NUMBER]", "does not speak TLS"),
        ("db:1: timed out (configured timeouts: connectTimeoutMS: 2)", "does not answer"),
        ("connection closed (configured timeouts: x)", "does it want TLS"),
        ("db:1: [Errno 113] No route to host (configured timeouts: x)", "no way to it"),
    ],
)
def test_network_errors_are_said_in_plain_words(message: str, meaning: str) -> None:
    assert meaning in _meaning(AutoReconnect(message))


def test_a_check_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "GRACE_SECONDS", 0.1)
    ended = threading.Event()
    check = Check("slow", lambda _: good("too late") if ended.wait(30) else good("never"))
    try:
        verdict = runner._bounded(check, subject(), seconds=0.1)
    finally:
        ended.set()
    assert verdict.level == "failure"
    assert "no answer" in verdict.found


def test_a_check_that_is_wrong_or_not_allowed_does_not_end_the_others() -> None:
    def wrong(_: Any) -> Any:
        raise KeyError("x")

    def refused(_: Any) -> Any:
        raise OperationFailure("not authorized", 13)

    assert runner._bounded(Check("wrong", wrong), subject(), 1).level == "not checked"
    verdict = runner._bounded(Check("refused", refused), subject(), 1)
    assert verdict.level == "not checked"
    assert "clusterMonitor" in verdict.mend


def test_a_damaged_record_keeps_no_other_tenants_database_from_being_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records: list[dict[str, Any]] = [
        {"_id": 1, "name": "without", "cluster": "blue", "dbName": ""},
        {"_id": 2, "name": "Acme", "cluster": "blue", "dbName": "tenant_2", "status": "unknown"},
    ]
    stored = {record["_id"]: record for record in records}
    repository = "multitenant.repositories.admin.tenants"
    monkeypatch.setattr(f"{repository}.find_tenants_on_cluster", lambda *_: records)
    monkeypatch.setattr(f"{repository}.find_stored_tenant", lambda _, own_id: stored[own_id])
    monkeypatch.setattr(contents_checks, "find_problem", lambda *_: "is empty")
    client = MongoClient[dict[str, Any]](connect=False)
    looked_at: Any = SimpleNamespace(admin_db=None, cluster="blue", client=client)
    assert contents_checks._not_their_own(looked_at) == ["Acme (tenant_2) is empty"]
