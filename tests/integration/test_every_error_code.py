"""All of MongoDB's error codes, at every kind of command that a request or a thread sends.

`test_mongodb_errors.py` tries some of them in `make test`.
"""

from typing import Any

import pytest
from bson import ObjectId
from pymongo.synchronous.bulk import _Bulk
from werkzeug.test import TestResponse

from multitenant.repositories.error_codes import KIND_OF_CODE, Kind
from multitenant.tenancy.routing import watcher
from tests.failpoints import Client, count_faults, end_faults, fail
from tests.integration.failing_commands import (
    BY_FAILPOINT,
    FailingCommands,
    Request,
    ensure_answers,
)
from tests.support import PASSWORD, World, answer, eventually

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def failing(impatient: World, mongo: Client) -> FailingCommands:
    """For all tests here: the requests for each kind of command, those of provisioning included."""
    failing = FailingCommands(impatient, mongo)
    admin = impatient.admin_db.name
    operator = impatient.operator
    owner = impatient.tenant("Dedicated", isolation="dedicated")
    acme = impatient.admin_db["tenants"].find_one({"name": "Acme"})
    assert acme is not None
    credentials = {"email": "owner@acme.example", "password": PASSWORD, "tenant": "Acme"}

    def add(**fields: Any) -> TestResponse:
        name = f"Tenant {ObjectId()}"
        return operator.post("/api/add", {"name": name, "email": "owner@tenant.example", **fields})

    def purge() -> TestResponse:
        found = impatient.admin_db["tenants"].find_one({"status": "deleted"})
        tenant_id, name = (found["_id"], found["name"]) if found else deleted()
        return operator.post(f"/api/tenants/{tenant_id}/purge", {"confirm": name})

    def deleted() -> tuple[str, str]:
        tenant_id = answer(add())["tenantId"]
        assert operator.delete(f"/api/tenants/{tenant_id}").status_code == 200
        return tenant_id, impatient.record(tenant_id)["name"]

    def reconnect() -> TestResponse:
        impatient.platform.connections.evict(ObjectId(owner.tenant_id))
        return owner.get("/api/to-do-list")

    def look_up() -> TestResponse:
        impatient.platform.connections.forget(acme["_id"])
        return failing.requests["find"].send()

    failing.requests |= {
        "login": Request(
            lambda: impatient.client.post("/api/login", json=credentials), "tenantusers", admin
        ),
        "lease": Request(look_up, "tenants", admin),
        "createIndexes": Request(add),
        "createUser": Request(lambda: add(isolation="dedicated")),
        "dropDatabase": Request(purge),
        "listCollections": Request(lambda: operator.get(f"/api/tenants/{acme['_id']}/usage")),
        "hello": Request(reconnect, connects=True),
        "saslContinue": Request(reconnect, connects=True),
        "ping": Request(reconnect, connects=True),
    }
    return failing


COMMANDS = {"login": "find", "lease": "find"}
NAMES = [
    *("find", "aggregate", "getMore", "insert", "update", "delete", "findAndModify"),
    *("commitTransaction", "abortTransaction", "login", "lease"),
    *("listCollections", "hello", "saslContinue", "ping"),
]
OF_PROVISIONING = ["createIndexes", "createUser", "dropDatabase"]
EVERY_TENTH = BY_FAILPOINT[::10]
"""For what makes and drops a database each time."""


@pytest.mark.parametrize("name", NAMES)
def test_every_code_is_answered_with_what_it_means(failing: FailingCommands, name: str) -> None:
    for code in BY_FAILPOINT:
        failing.ensure_means(name, code, failing.send(name, COMMANDS.get(name), errorCode=code))


@pytest.mark.parametrize("name", OF_PROVISIONING)
def test_codes_while_a_tenant_is_made_or_purged_are_answered_with_what_they_mean(
    failing: FailingCommands, name: str
) -> None:
    for code in EVERY_TENTH:
        failing.ensure_means(name, code, failing.send(name, errorCode=code))


@pytest.mark.parametrize(
    "name", ["insert", "update", "delete", "findAndModify", "commitTransaction"]
)
def test_what_no_majority_confirms_passes_whatever_the_code(
    failing: FailingCommands, name: str
) -> None:
    for code in BY_FAILPOINT:
        response = failing.send(name, writeConcernError={"code": code, "errmsg": "not confirmed"})
        if response.status_code >= 300:
            ensure_answers(response, Kind.PASSING, f"{name}, code {code}")


@pytest.mark.parametrize("unconfirmed", [False, True])
def test_every_code_of_one_of_several_writes_is_answered_with_what_it_means(
    failing: FailingCommands, monkeypatch: pytest.MonkeyPatch, unconfirmed: bool
) -> None:
    """No failpoint answers those, so they are put into MongoDB's answer."""
    for code in KIND_OF_CODE:
        error = {"index": 0, "code": code, "errmsg": "no"}
        reply = {"ok": 1.0, "n": 0, "writeErrors": [error]}
        if unconfirmed:
            reply = {"ok": 1.0, "n": 2, "writeConcernError": {"code": code, "errmsg": "no"}}
        monkeypatch.setattr(_Bulk, "write_command", lambda *_, reply=reply: reply)
        kind = Kind.PASSING if unconfirmed else KIND_OF_CODE[code]
        response = failing.requests["commitTransaction"].send()
        ensure_answers(response, kind, f"code {code}")


@pytest.mark.parametrize("commands", [["getMore"], ["getMore", "aggregate"]], ids=str)
def test_the_change_stream_outlives_every_code(
    impatient: World, mongo: Client, monkeypatch: pytest.MonkeyPatch, commands: list[str]
) -> None:
    for name in ("PAUSE_SECONDS", "MAX_PAUSE_SECONDS"):
        monkeypatch.setattr(watcher, name, 0.005)
    impatient.platform.watcher.ensure_running()
    owner = impatient.tenant(f"Watched{len(commands)}")
    for code in BY_FAILPOINT:
        expected = count_faults(mongo) + len(commands)
        fail(mongo, {"times": len(commands)}, *commands, errorCode=code)
        eventually(lambda expected=expected: count_faults(mongo) >= expected)  # type: ignore[misc]
    end_faults(mongo)
    impatient.admin_db["tenants"].update_one(
        {"_id": ObjectId(owner.tenant_id)}, {"$set": {"status": "suspended"}}
    )
    eventually(lambda: owner.get("/api/users/me").status_code == 403)
