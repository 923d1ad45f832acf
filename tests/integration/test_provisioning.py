"""Invariant 1: a tenant exists entirely, or not at all, whatever happens while it is made."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.monitoring import CommandStartedEvent

from multitenant import create_app
from multitenant.config import Settings
from multitenant.extensions import platform_of
from multitenant.repositories.model import utc_now
from multitenant.schemas.admin.tenants import NewTenant
from multitenant.tenancy.orphans import drop_orphan, find_orphans
from tests.conftest import MakeWorld
from tests.support import PASSWORD, CommandRecorder, World, answer, refusal

Client = MongoClient[dict[str, Any]]
ACME = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD}
WRITES = ("insert", "update", "createIndexes", "commitTransaction")


@contextmanager
def failing(mongo: Client, mode: Any, *commands: str, **data: Any) -> Iterator[None]:
    """Make mongod fail these commands of the application."""
    data = {"failCommands": list(commands), "appName": "multitenant", **data}
    mongo.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)
    try:
        yield
    finally:
        mongo.admin.command("configureFailPoint", "failCommand", mode="off")


def count_writes(world: World) -> int:
    """How many writing commands it takes to add a tenant."""
    world.operator  # noqa: B018  # logs in
    world.recorder.commands.clear()
    assert world.add(**{**ACME, "name": "First", "subdomain": "first"}).status_code == 201
    return sum(name in WRITES for _, name, _ in world.recorder.commands)


def test_a_tenant_is_made_with_its_record_its_membership_its_user_and_its_indexes(
    world: World,
) -> None:
    made = answer(world.add(**ACME, subdomain="Acme", modules=["todos"], userLimit=5))

    tenant_id, user_id = ObjectId(made["tenantId"]), ObjectId(made["userId"])
    record = world.record(made["tenantId"])
    assert record["dbName"].endswith(f"_tenant_{tenant_id}")
    assert (record["status"], record["isolation"], record["system"]) == ("active", "shared", False)
    assert (record["subdomain"], record["modules"], record["userLimit"]) == ("acme", ["todos"], 5)
    membership = world.admin_db["tenantusers"].find_one({"tenantId": tenant_id})
    assert membership == {"_id": user_id, "email": ACME["email"], "tenantId": tenant_id}
    db = world.db_of(made["tenantId"])
    user = db["users"].find_one({"_id": user_id})
    assert user is not None
    assert (user["email"], user["role"], user["status"]) == (ACME["email"], "owner", "active")
    assert user["password"].startswith("$2b$")
    assert db["users"].index_information()["email_1"]["unique"] is True
    assert [migration["_id"] for migration in db["migrations"].find()] == [record["schemaVersion"]]


def test_the_admin_database_never_holds_a_password(world: World) -> None:
    world.add(**ACME)
    everything = str([list(world.admin_db[name].find()) for name in _collections(world)])
    assert PASSWORD not in everything
    assert "$2b$" not in everything


def _collections(world: World) -> list[str]:
    return world.admin_db.list_collection_names()


def test_failing_at_any_write_leaves_nothing_behind_and_can_be_repeated(
    world: World, mongo: Client
) -> None:
    writes = count_writes(world)
    assert writes >= 7, "marker, index, migration, three inserts and the commit at least"
    before = world.databases()

    for step in range(writes):
        with failing(mongo, {"skip": step}, *WRITES, errorCode=2):
            response = world.add(**ACME, subdomain="acme")
        assert response.status_code == 500, f"write {step} of {writes}: {response.text}"
        assert world.databases() == before, f"write {step} left a database"
        for collection in ("tenants", "tenantusers"):
            leftover = world.admin_db[collection].count_documents({"name": "Acme"})
            assert leftover == 0, f"write {step} left a document in {collection}"
        assert world.admin_db["tenantusers"].count_documents({}) == 2

    assert world.add(**ACME, subdomain="acme").status_code == 201


class KillAt(CommandRecorder):
    """Kills this process with SIGKILL when it is about to send its nth command."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self._step = step

    def started(self, event: CommandStartedEvent) -> None:
        if self._step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self._step -= 1


def _provision_in_child(settings: Settings, kill_at: int) -> bool:
    """Provision in a process that dies at its nth command; return whether it did."""
    child = os.fork()
    if child == 0:
        app = create_app(settings, listeners=[KillAt(kill_at)])
        platform_of(app).provisioner.provision(NewTenant.model_validate(ACME))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_process_killed_at_any_command_leaves_no_half_tenant_and_gc_finds_the_rest(
    world: World, mongo: Client
) -> None:
    settings, admin_db = world.platform.settings, world.admin_db
    orphans_seen = 0
    step = 0
    while _provision_in_child(settings, step):
        step += 1
        record = admin_db["tenants"].find_one({"name": "Acme"})
        memberships = admin_db["tenantusers"].count_documents({"email": ACME["email"]})
        assert record is None, f"killed at command {step}"
        assert memberships == 0
        orphans_seen += _collect_garbage(world, mongo)
    assert step >= 8
    assert orphans_seen >= 5, "most kills come after the database was prepared"
    assert world.login("owner@acme.example").get("/api/users/me").status_code == 200


def _collect_garbage(world: World, mongo: Client) -> int:
    """Age what was left, drop it, and return how much it was."""
    settings, admin_db = world.platform.settings, world.admin_db
    known = {tenant["dbName"] for tenant in admin_db["tenants"].find()}
    left = world.databases() - known - {settings.admin_db_name}
    for name in left:
        mongo[name]["provisioning"].update_one(
            {}, {"$set": {"startedAt": utc_now() - timedelta(hours=2)}}
        )
    found = find_orphans(
        mongo, admin_db, db_prefix=settings.tenant_db_prefix, older_than=timedelta(hours=1)
    )
    assert {name for name, _ in found} == left, "every left-over database must be found"
    for name, _ in found:
        assert drop_orphan(mongo, admin_db, name)
    return len(found)


def test_gc_spares_tenants_young_databases_and_those_of_other_platforms(
    world: World, mongo: Client
) -> None:
    settings, admin_db = world.platform.settings, world.admin_db
    world.tenant("Acme")
    long_ago = utc_now() - timedelta(hours=2)
    mine, young, foreign, unmarked = (
        f"{settings.tenant_db_prefix}{name}" for name in ("mine", "young", "foreign", "unmarked")
    )
    mongo[mine]["provisioning"].insert_one({"adminDb": admin_db.name, "startedAt": long_ago})
    mongo[young]["provisioning"].insert_one({"adminDb": admin_db.name, "startedAt": utc_now()})
    mongo[foreign]["provisioning"].insert_one({"adminDb": "other", "startedAt": long_ago})
    mongo[unmarked]["something"].insert_one({})
    try:
        found = find_orphans(
            mongo, admin_db, db_prefix=settings.tenant_db_prefix, older_than=timedelta(0)
        )
        assert [name for name, _ in found] == [mine]
    finally:
        for name in (mine, young, foreign, unmarked):
            mongo.drop_database(name)


def test_gc_does_not_drop_what_has_become_a_tenant_meanwhile(world: World, mongo: Client) -> None:
    owner = world.tenant("Acme")
    name = world.record(owner.tenant_id)["dbName"]
    assert drop_orphan(mongo, world.admin_db, name) is False
    assert owner.get("/api/users/me").status_code == 200


def test_a_transient_error_in_the_transaction_is_retried(world: World, mongo: Client) -> None:
    world.operator  # noqa: B018
    with failing(
        mongo,
        {"times": 1},
        "commitTransaction",
        errorCode=112,
        errorLabels=["TransientTransactionError"],
    ):
        response = world.add(**ACME)
    assert response.status_code == 201
    assert world.admin_db["tenants"].count_documents({"name": "Acme"}) == 1


def test_an_unknown_commit_result_is_settled_by_committing_again(
    world: World, mongo: Client
) -> None:
    world.operator  # noqa: B018
    with failing(mongo, {"times": 1}, "commitTransaction", closeConnection=True):
        assert world.add(**ACME).status_code == 201
    with failing(
        mongo,
        {"times": 1},
        "commitTransaction",
        writeConcernError={"code": 64, "errmsg": "waiting for replication timed out"},
    ):
        assert world.add(**{**ACME, "name": "Globex"}).status_code == 201
    assert world.admin_db["tenants"].count_documents({"system": False}) == 2


def test_when_the_commit_stays_unknown_nothing_is_dropped(
    make_world: MakeWorld, mongo: Client
) -> None:
    """The commit took effect, but no answer to it ever arrived: the tenant must not lose its
    database to a clean-up."""
    world = make_world(operation_timeout_ms=1500)
    world.operator  # noqa: B018
    error = {"code": 64, "errmsg": "waiting for replication timed out"}
    with failing(mongo, "alwaysOn", "commitTransaction", writeConcernError=error):
        response = world.add(**ACME)
    refusal(response, 503, "database_unavailable")
    assert "Retry-After" in response.headers
    assert world.login("owner@acme.example").get("/api/users/me").status_code == 200


def test_when_the_commit_never_arrives_the_database_is_left_for_gc(
    make_world: MakeWorld, mongo: Client
) -> None:
    world = make_world(operation_timeout_ms=1500)
    world.operator  # noqa: B018
    with failing(mongo, "alwaysOn", "commitTransaction", closeConnection=True):
        response = world.add(**ACME)
    refusal(response, 503, "database_unavailable")
    assert world.admin_db["tenants"].count_documents({"name": "Acme"}) == 0
    assert _collect_garbage(world, mongo) == 1


@pytest.mark.parametrize(
    ("first", "second", "field"),
    [
        ({"name": "Acme"}, {"name": "acme"}, "name"),
        ({"name": "Acme", "subdomain": "x1"}, {"name": "Other", "subdomain": "X1"}, "subdomain"),
        ({"name": "Acme"}, {"name": "OPERATORS"}, "name"),
    ],
)
def test_a_value_that_is_taken_answers_409_with_its_field(
    world: World, first: dict[str, str], second: dict[str, str], field: str
) -> None:
    assert world.add(email="a@acme.example", **first).status_code == 201
    details = refusal(world.add(email="b@acme.example", **second), 409, "already_exists")
    assert details["incorrectField"] == field


@pytest.mark.parametrize("field", ["name", "subdomain"])
def test_of_eight_that_race_for_a_value_one_gets_it(
    world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]], field: str
) -> None:
    world.operator  # noqa: B018

    def racer(number: int) -> Callable[[], Any]:
        body = {"name": f"Tenant {number}", "subdomain": f"sub{number}", "email": "o@a.example"}
        return lambda: world.add(**{**body, field: "wanted", "password": PASSWORD})

    responses = run_together([racer(number) for number in range(8)])

    statuses = sorted(response.status_code for response in responses)
    assert statuses == [201] + [409] * 7
    for response in responses:
        if response.status_code == 409:
            assert refusal(response, 409, "already_exists")["incorrectField"] == field
    assert world.admin_db["tenants"].count_documents({"system": False}) == 1


def test_without_a_password_the_first_user_is_invited_and_sets_it_once(world: World) -> None:
    made = answer(world.add(name="Acme", email="owner@acme.example"))
    body = {"token": made["invitationToken"], "password": PASSWORD}

    accepted = answer(world.client.post("/api/invitations/accept", json=body))
    assert accepted["userId"] == made["userId"]
    assert world.login("owner@acme.example").user_id == made["userId"]

    again = world.client.post("/api/invitations/accept", json={**body, "password": "other one!"})
    refusal(again, 401, "token_revoked")
    assert world.login("owner@acme.example")


def test_eight_who_accept_one_invitation_at_once_set_one_password(
    world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    token = answer(world.add(name="Acme", email="owner@acme.example"))["invitationToken"]

    def accept(number: int) -> Callable[[], Any]:
        body = {"token": token, "password": f"password {number}"}
        return lambda: world.client.post("/api/invitations/accept", json=body)

    responses = run_together([accept(number) for number in range(8)])

    winners = [n for n, response in enumerate(responses) if response.status_code == 200]
    assert len(winners) == 1
    assert world.login("owner@acme.example", f"password {winners[0]}")


def test_an_invitation_opens_nothing_else(world: World) -> None:
    token = answer(world.add(name="Acme", email="owner@acme.example"))["invitationToken"]
    headers = {"Authorization": f"Bearer {token}"}
    refusal(world.client.get("/api/users/me", headers=headers), 401, "token_invalid")
    refusal(world.client.post("/api/refresh", headers=headers), 401, "token_invalid")


class TestIdempotencyKey:
    """`Idempotency-Key` makes a retry answer the first result."""

    HEADERS: ClassVar = {"Idempotency-Key": "6f1c"}

    def test_a_retry_answers_the_first_result_and_makes_nothing(self, world: World) -> None:
        body = {"name": "Acme", "email": "owner@acme.example"}
        first = world.operator.post("/api/add", body, headers=self.HEADERS)
        before = world.databases()

        retry = world.operator.post("/api/add", body, headers=self.HEADERS)

        assert (first.status_code, retry.status_code) == (201, 201)
        assert answer(retry) == answer(first), "the invitation token included"
        assert world.databases() == before

    def test_eight_at_once_make_one_tenant_and_answer_alike(
        self, world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
    ) -> None:
        operator = world.operator
        responses = run_together(
            [lambda: operator.post("/api/add", ACME, headers=self.HEADERS)] * 8
        )
        assert [response.status_code for response in responses] == [201] * 8
        assert len({answer(response)["tenantId"] for response in responses}) == 1
        assert world.admin_db["tenants"].count_documents({"system": False}) == 1

    def test_another_request_under_the_same_key_is_refused(self, world: World) -> None:
        world.operator.post("/api/add", ACME, headers=self.HEADERS)
        other = world.operator.post("/api/add", {**ACME, "name": "Other"}, headers=self.HEADERS)
        assert refusal(other, 422, "validation_failed")["incorrectField"] == "Idempotency-Key"

    def test_a_failed_request_may_be_repeated_under_its_key(
        self, world: World, mongo: Client
    ) -> None:
        operator = world.operator
        with failing(mongo, "alwaysOn", "commitTransaction", errorCode=2):
            failed = operator.post("/api/add", ACME, headers=self.HEADERS)
        assert failed.status_code == 500
        assert operator.post("/api/add", ACME, headers=self.HEADERS).status_code == 201

    def test_keys_belong_to_the_operator_who_used_them(self, world: World) -> None:
        assert world.operator.post("/api/add", ACME, headers=self.HEADERS).status_code == 201
        keys = [kept["_id"] for kept in world.admin_db["idempotencykeys"].find()]
        assert self.HEADERS["Idempotency-Key"] not in keys[0]

    @pytest.mark.parametrize("key", ["", "k" * 256, "tab\there"])
    def test_a_key_that_is_none_is_refused(self, world: World, key: str) -> None:
        response = world.operator.post("/api/add", ACME, headers={"Idempotency-Key": key})
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "Idempotency-Key"
