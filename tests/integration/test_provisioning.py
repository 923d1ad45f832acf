"""Invariant 1: a tenant exists entirely, or not at all, whatever happens while it is made."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.repositories.admin.provisionings import insert_provisioning
from multitenant.repositories.model import utc_now
from multitenant.repositories.transactions import run_transaction
from multitenant.tenancy.lifecycle import provisioning
from multitenant.tenancy.lifecycle.orphans import drop_orphan, find_orphans
from tests.conftest import MakeWorld
from tests.failpoints import fail, failing
from tests.leftovers import drop_leftovers
from tests.support import PASSWORD, World, answer, in_thread, refusal

Client = MongoClient[dict[str, Any]]
ACME = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD}
WRITES = ("insert", "update", "delete", "createIndexes", "commitTransaction")


def writes_of_adding(world: World) -> list[str]:
    """The writing commands that it takes to add a tenant, in order."""
    world.operator  # noqa: B018  # logs in
    world.recorder.commands.clear()
    assert world.add(**{**ACME, "name": "First", "subdomain": "first"}).status_code == 201
    return [name for _, name, _ in world.recorder.commands if name in WRITES]


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
    applied = [migration["_id"] for migration in db["migrations"].find().sort("_id")]
    assert applied == list(range(1, record["schemaVersion"] + 1))


def test_the_admin_database_never_holds_a_password(world: World) -> None:
    world.add(**ACME)
    everything = str([list(world.admin_db[name].find()) for name in _collections(world)])
    assert PASSWORD not in everything
    assert "$2b$" not in everything


def _collections(world: World) -> list[str]:
    return world.admin_db.list_collection_names()


@pytest.mark.slow
def test_failing_at_any_write_leaves_nothing_behind_and_can_be_repeated(
    world: World, mongo: Client
) -> None:
    writes = writes_of_adding(world)
    assert len(writes) >= 8, "note, indexes, migration, removing the note, inserts, commit"
    before = world.databases()

    for step, command in enumerate(writes):
        with failing(mongo, {"skip": writes[:step].count(command)}, command, errorCode=2):
            response = world.add(**ACME, subdomain="acme")
        what = f"write {step}, {command}"
        assert response.status_code == 500, f"{what}: {response.text}"
        if command == "update":  # dropping at once begins with an update, which failed as well
            assert _collect_garbage(world) == 1
        assert world.databases() == before, f"{what} left a database"
        assert world.admin_db["tenants"].count_documents({"name": "Acme"}) == 0, what
        assert world.admin_db["tenantusers"].count_documents({}) == 2, what

    assert world.add(**ACME, subdomain="acme").status_code == 201


def _collect_garbage(world: World) -> int:
    """Age what was left, drop it, and return how many databases that were."""
    admin_db = world.admin_db
    known = {tenant["dbName"] for tenant in admin_db["tenants"].find()}
    left = world.databases() - known - {admin_db.name}
    drop_leftovers(world)
    assert not left & world.databases(), "every left-over database must be found"
    assert admin_db["provisionings"].count_documents({}) == 0
    return len(left)


def _drop(world: World, note: dict[str, Any]) -> bool:
    platform = world.platform
    return drop_orphan(platform.connections, platform.cipher, note["_id"], note)


def _note(world: World, name: str, *, age: timedelta = timedelta(0)) -> dict[str, Any]:
    """Note a database as one that is being prepared, and put something into it."""
    db_name = f"{world.platform.settings.tenant_db_prefix}{name}"
    world.admin_db.client[db_name]["migrations"].insert_one({})
    note = insert_provisioning(world.admin_db, ObjectId(), db_name=db_name, cluster="default")
    changed = world.admin_db["provisionings"].find_one_and_update(
        {"_id": note["_id"]}, {"$set": {"startedAt": utc_now() - age}}, return_document=True
    )
    assert changed is not None
    return changed


def test_gc_takes_what_is_noted_and_old_and_nothing_else(world: World, mongo: Client) -> None:
    world.tenant("Acme")
    prefix = world.platform.settings.tenant_db_prefix
    old = _note(world, "old", age=timedelta(hours=2))
    young = _note(world, "young")
    mongo[f"{prefix}unknown"]["something"].insert_one({})
    try:
        found = find_orphans(world.admin_db, older_than=timedelta(0))
        assert [note["_id"] for note in found] == [old["_id"]]
        before = world.databases()
        assert _drop(world, old)
        assert before - world.databases() == {old["dbName"]}
    finally:
        for name in (young["dbName"], f"{prefix}unknown"):
            mongo.drop_database(name)


def test_gc_does_not_drop_what_has_become_a_tenant_meanwhile(world: World) -> None:
    owner = world.tenant("Acme")
    record = world.record(owner.tenant_id)
    note = {"_id": record["_id"], "dbName": record["dbName"], "cluster": "default"}
    assert _drop(world, {**note, "hasUsers": False, "purged": False}) is False
    assert owner.get("/api/users/me").status_code == 200


def test_gc_spares_the_database_of_a_tenant_whose_record_is_gone(world: World) -> None:
    """As after the admin database was restored from a backup that was made while the tenant was
    being added: its record is missing, the note of its preparation is there, the data is live."""
    owner = world.tenant("Acme")
    record = world.record(owner.tenant_id)
    world.admin_db["tenants"].delete_one({"_id": record["_id"]})
    try:
        assert find_orphans(world.admin_db, older_than=timedelta(0)) == []
        note = insert_provisioning(
            world.admin_db, record["_id"], db_name=record["dbName"], cluster="default"
        )
        assert _drop(world, note) is False
    finally:
        world.admin_db["tenants"].insert_one(record)
    assert owner.get("/api/users/me").status_code == 200


def test_a_tenant_is_not_made_of_a_database_that_gc_has_claimed(
    world: World, mongo: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that prepared it slept so long that gc took the database for a leftover."""
    world.operator  # noqa: B018
    before = world.databases()

    def sleep_first(*args: Any, **kwargs: Any) -> Any:
        assert in_thread(lambda: _collect_garbage(world)) == 1
        return run_transaction(*args, **kwargs)

    monkeypatch.setattr("multitenant.tenancy.lifecycle.provisioning.run_transaction", sleep_first)

    refusal(world.add(**ACME), 503, "database_unavailable")

    assert world.databases() == before
    assert world.admin_db["tenants"].count_documents({"name": "Acme"}) == 0


def test_gc_and_a_commit_at_the_same_time_exclude_each_other(
    world: World, mongo: Client, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    world.operator  # noqa: B018
    for number in range(5):
        before = world.databases()
        stop = threading.Event()

        def drop_whatever_appears(before: set[str], stop: threading.Event) -> None:
            while not stop.is_set():
                for note in list(world.admin_db["provisionings"].find()):
                    if mongo[note["dbName"]]["migrations"].find_one():  # the commit is next
                        _drop(world, note)

        def add(number: int, stop: threading.Event) -> Any:
            try:
                return world.add(name=f"T{number}", email="o@a.example", password=PASSWORD)
            finally:
                stop.set()

        _, response = run_together(
            [partial(drop_whatever_appears, before, stop), partial(add, number, stop)]
        )
        made = world.admin_db["tenants"].find_one({"name": f"T{number}"})
        assert (made is not None) == (response.status_code == 201)
        if made is not None:
            assert "email_1" in mongo[made["dbName"]]["users"].index_information()
        else:
            assert response.status_code == 503
            assert world.databases() == before


def test_a_tenant_whose_preparation_is_collected_as_garbage_meanwhile_leaves_nothing(
    world: World,
) -> None:
    """Whatever it still writes after the database was dropped."""
    steps = len([name for name in writes_of_adding(world) if name == "createIndexes"])
    before = world.databases()
    for step in range(steps):
        left = [step]

        def collect(event: Any, left: list[int] = left) -> None:
            if event.command_name == "createIndexes":
                left[0] -= 1
                if left[0] == -1:
                    (note,) = world.admin_db["provisionings"].find()
                    assert in_thread(lambda: _drop(world, note))

        world.recorder.on_end = collect
        assert world.add(**ACME).status_code == 503
        assert left[0] < 0
        assert world.databases() == before, f"dropped after index {step}"
    world.recorder.on_end = lambda _: None
    assert world.add(**ACME).status_code == 201


def test_a_commit_that_took_effect_is_not_undone_by_a_later_refusal(
    world: World, mongo: Client
) -> None:
    """The first commit is applied, its answer says nothing certain, and the second is refused."""
    world.operator  # noqa: B018
    times = {"times": 1}
    uncertain = {"code": 64, "errmsg": "waiting for replication timed out"}

    def refuse_the_next(event: Any) -> None:
        if event.command_name == "commitTransaction" and not refused:
            refused.append(event)
            in_thread(lambda: fail(mongo, times, "commitTransaction", errorCode=13))

    refused: list[Any] = []
    world.recorder.on_end = refuse_the_next
    with failing(mongo, times, "commitTransaction", writeConcernError=uncertain):
        response = world.add(**ACME)

    assert refused
    assert response.status_code >= 500
    assert world.login("owner@acme.example").get("/api/users/me").status_code == 200


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


def hasty(world: World) -> World:
    """Let the transaction that adds a tenant, and nothing else, be given up after some seconds."""
    world.platform.provisioner._transaction_seconds = 4
    return world


@pytest.mark.slow
def test_when_the_commit_stays_unknown_nothing_is_dropped(
    make_world: MakeWorld, mongo: Client
) -> None:
    """The commit took effect, but no answer to it ever arrived: the tenant must not lose its
    database to a clean-up."""
    world = hasty(make_world())
    world.operator  # noqa: B018
    error = {"code": 64, "errmsg": "waiting for replication timed out"}
    with failing(mongo, "alwaysOn", "commitTransaction", writeConcernError=error):
        response = world.add(**ACME)
    refusal(response, 503, "database_unavailable")
    assert "Retry-After" in response.headers
    assert world.login("owner@acme.example").get("/api/users/me").status_code == 200


@pytest.mark.slow
def test_when_the_commit_never_arrives_the_database_is_left_for_gc(
    make_world: MakeWorld, mongo: Client
) -> None:
    world = hasty(make_world())
    world.operator  # noqa: B018
    with failing(mongo, "alwaysOn", "commitTransaction", closeConnection=True):
        response = world.add(**ACME)
    refusal(response, 503, "database_unavailable")
    assert world.admin_db["tenants"].count_documents({"name": "Acme"}) == 0
    assert _collect_garbage(world) == 1


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

    def test_a_retry_that_overtakes_its_first_request_answers_alike(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first one commits between the look at the key and the look at the name."""
        operator = world.operator
        ensure_free = provisioning.ensure_free
        first: list[Any] = []

        def commit_first(*asked: Any) -> None:
            if not first:
                first.append(None)
                first[0] = in_thread(
                    lambda: operator.post("/api/add", ACME, headers=TestIdempotencyKey.HEADERS)
                )
            ensure_free(*asked)

        monkeypatch.setattr(provisioning, "ensure_free", commit_first)
        retry = operator.post("/api/add", ACME, headers=self.HEADERS)

        assert retry.status_code == 201
        assert answer(retry) == answer(first[0])

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
