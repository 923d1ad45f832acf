"""Dedicated tenants: MongoDB itself keeps them apart, and everything changes while they work."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.error_codes import AUTHENTICATION_FAILED, USER_NOT_FOUND
from multitenant.repositories.model import MongoDatabase
from multitenant.tenancy.deployments.database_users import DatabaseUser, connected_users, list_users
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.support import PASSWORD, User, World, answer, eventually, refusal

Client = MongoClient[dict[str, Any]]


SETTLE_SECONDS = 2
"""How long the processes here may take to connect; old users are kept for that."""


@pytest.fixture
def make_world(make_world: MakeWorld) -> MakeWorld:
    """Applications whose operations take two seconds at most."""
    return partial(make_world, operation_timeout_ms=SETTLE_SECONDS * 1000)


def user_of(world: World, owner: User) -> DatabaseUser:
    """The MongoDB user that the tenant's record names."""
    record = world.record(owner.tenant_id)
    return DatabaseUser.of(record["_id"], record["credentials"], world.platform.cipher)


def users_of(db: MongoDatabase) -> set[str]:
    """The names of the database's users."""
    users = list_users(db)
    assert users is not None
    return users


@contextmanager
def load(*owners: User, threads: int = 4) -> Iterator[list[str]]:
    """Send requests all the time; yield what was not answered as it should be."""
    failures: list[str] = []
    stop = threading.Event()
    sent = [0]

    def work(owner: User) -> None:
        while not stop.is_set():
            sent[0] += 1
            for response in (
                owner.post("/api/to-do-list", {"title": owner.tenant_id}),
                owner.get("/api/to-do-list?limit=1"),
            ):
                if response.status_code not in (200, 201):
                    failures.append(response.text)

    workers = [
        threading.Thread(target=work, args=(owner,)) for owner in owners for _ in range(threads)
    ]
    for worker in workers:
        worker.start()
    try:
        yield failures
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert sent[0] > 20, "there was no load to speak of"


def switch(world: World, owner: User, isolation: str) -> Any:
    return world.operator.patch(f"/api/tenants/{owner.tenant_id}", {"isolation": isolation})


def rotate(world: World, owner: User) -> Any:
    return world.operator.post(f"/api/tenants/{owner.tenant_id}/rotate-credentials")


def test_a_dedicated_tenant_works_as_its_own_mongodb_user(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    record, user = world.record(owner.tenant_id), user_of(world, owner)
    assert (record["isolation"], record["cluster"]) == ("dedicated", "default")
    db = world.db_of(owner.tenant_id)
    info = db.command("usersInfo", user.name, showPrivileges=False)["users"][0]
    assert info["roles"] == [{"role": "readWrite", "db": db.name}]
    assert info["mechanisms"] == ["SCRAM-SHA-256"]
    assert owner.post("/api/to-do-list", {"title": "x"}).status_code == 201
    assert connected_users(db) == {user.name}
    shown = world.operator.get(f"/api/tenants/{owner.tenant_id}").text
    assert user.name not in shown
    assert "redentials" not in shown


def test_mongodb_refuses_a_foreign_database_even_to_buggy_code(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    acme, globex = world.tenant("Acme", isolation="dedicated"), world.tenant("Globex")
    globex.post("/api/to-do-list", {"title": "secret"})
    foreign = world.record(globex.tenant_id)["dbName"]
    outcomes: list[Any] = []

    def buggy(db: Any, *_: Any) -> Any:
        for name in (foreign, world.admin_db.name, "admin"):
            for attempt in (
                lambda name=name: list(db.client[name]["todos"].find()),
                lambda name=name: db.client[name]["todos"].insert_one({"title": "x"}),
                lambda name=name: db.client[name].list_collection_names(),
                lambda name=name: db.client.drop_database(name),
            ):
                with pytest.raises(OperationFailure) as refused:
                    attempt()
                outcomes.append(refused.value.details["codeName"])  # type: ignore[index]
        raise RuntimeError("done")

    monkeypatch.setattr("multitenant.controllers.tenant.todos.service.list_todos", buggy)
    assert acme.get("/api/to-do-list").status_code == 500
    assert outcomes == ["Unauthorized"] * 12
    world.isolation.violations.clear()


def test_what_spans_both_databases_works_for_a_dedicated_tenant(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    other = world.login("owner@acme.example")
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    assert owner.put("/api/users/me/password", body).status_code == 200
    refusal(other.get("/api/users/me"), 401, "token_revoked")
    assert world.login("owner@acme.example", "another one")


@pytest.mark.parametrize("isolation", ["shared", "dedicated"])
@pytest.mark.slow
def test_switching_back_and_forth_under_load_fails_no_request(world: World, isolation: str) -> None:
    owner, other = world.tenant("Acme", isolation=isolation), world.tenant("Globex")
    db = world.db_of(owner.tenant_id)
    with load(owner, other, threads=3) as failures:
        for target in ("dedicated", "shared", "dedicated", "dedicated", "shared"):
            assert switch(world, owner, target).status_code == 200
            assert answer(owner.get("/api/users/me"))["id"] == owner.user_id
            if target == "dedicated":
                name = user_of(world, owner).name
                eventually(lambda name=name: name in connected_users(db))  # type: ignore[misc]
            time.sleep(0.3)
        eventually(lambda: users_of(db) == set())
    assert failures == []
    assert "credentials" not in world.record(owner.tenant_id)


@pytest.mark.slow
def test_rotating_under_load_fails_no_request_and_the_old_user_goes(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    db = world.db_of(owner.tenant_id)
    names = [user_of(world, owner).name]
    with load(owner) as failures:
        for _ in range(4):
            assert rotate(world, owner).status_code == 200
            names.append(user_of(world, owner).name)
            time.sleep(0.3)
        eventually(lambda: users_of(db) == {names[-1]})
    assert failures == []
    assert len(set(names)) == 5
    page = answer(world.operator.get("/api/audit?action=tenant.rotate_credentials"))
    assert len(page["items"]) == 4


@pytest.mark.slow
def test_rotating_is_seen_by_a_process_that_holds_the_old_credentials(
    make_world: MakeWorld,
) -> None:
    here, there = make_world(), make_world()
    owner = here.tenant("Acme", isolation="dedicated")
    elsewhere = User(there.client, owner.tenant_id, owner.user_id, owner.access, owner.refresh)
    db = here.db_of(owner.tenant_id)
    with load(owner, elsewhere, threads=2) as failures:
        for _ in range(3):
            assert rotate(here, owner).status_code == 200
            time.sleep(0.4)
        eventually(lambda: users_of(db) == {user_of(here, owner).name})
    assert failures == []


@pytest.mark.parametrize("code", [AUTHENTICATION_FAILED, USER_NOT_FOUND])
def test_a_mongodb_user_who_goes_while_they_log_in_makes_the_record_be_read_again(
    world: World, mongo: Client, code: int
) -> None:
    """MongoDB has two answers for it; the second is given when they go between two steps."""
    owner = world.tenant("Acme", isolation="dedicated")
    connections = world.platform.connections
    for times, wanted in ((1, 200), (10, 503)):
        assert connections.evict(ObjectId(owner.tenant_id))
        with failing(mongo, {"times": times}, "saslContinue", errorCode=code):
            assert owner.get("/api/users/me").status_code == wanted


@pytest.mark.slow
def test_the_old_user_stays_for_as_long_as_a_lease_is_out(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    db, old = world.db_of(owner.tenant_id), user_of(world, owner).name
    with world.platform.connections.lease(ObjectId(owner.tenant_id)) as lease:
        assert rotate(world, owner).status_code == 200
        time.sleep(SETTLE_SECONDS + 1.5)
        assert old in users_of(db)
        assert lease.database["todos"].find_one() is None
    eventually(lambda: old not in users_of(db))


def test_rotating_with_room_for_one_client_only_fails_no_request(make_world: MakeWorld) -> None:
    """The new client waits for the old one's last lease."""
    world = make_world(max_pool_size=24, connection_budget=24 + 2 + 5)
    owner = world.tenant("Acme", isolation="dedicated")
    with load(owner, threads=2) as failures:
        for _ in range(3):
            assert rotate(world, owner).status_code == 200
            assert (
                world.operator.patch(
                    f"/api/tenants/{owner.tenant_id}", {"userLimit": 5}
                ).status_code
                == 200
            )
            time.sleep(0.3)
    assert failures == []


@pytest.mark.slow
def test_of_two_rotations_in_a_row_both_old_users_go(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    db = world.db_of(owner.tenant_id)
    for _ in range(2):
        assert rotate(world, owner).status_code == 200
    assert len(users_of(db)) == 3
    eventually(lambda: users_of(db) == {user_of(world, owner).name})


def test_a_shared_tenant_has_nothing_to_rotate(world: World) -> None:
    refusal(rotate(world, world.tenant("Acme")), 409, "conflict")
    refusal(rotate(world, world.operator), 409, "conflict")


def test_a_switch_that_fails_at_the_commit_leaves_no_user_and_changes_nothing(
    world: World, mongo: Client
) -> None:
    owner = world.tenant("Acme")
    db = world.db_of(owner.tenant_id)
    with failing(mongo, "alwaysOn", "commitTransaction", errorCode=2):
        assert switch(world, owner, "dedicated").status_code == 500
    assert users_of(db) == set()
    assert world.record(owner.tenant_id)["isolation"] == "shared"
    assert switch(world, owner, "dedicated").status_code == 200
    with failing(mongo, "alwaysOn", "commitTransaction", errorCode=2):
        assert rotate(world, owner).status_code == 500
    assert users_of(db) == {user_of(world, owner).name}
    assert owner.get("/api/users/me").status_code == 200


def test_of_two_rotations_at_once_at_least_one_takes_effect_and_nobody_is_locked_out(
    world: World, run_together: Callable[[list[Callable[[], Any]]], list[Any]]
) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    db = world.db_of(owner.tenant_id)
    responses = run_together([lambda: rotate(world, owner)] * 4)
    statuses = [response.status_code for response in responses]
    assert 200 in statuses
    assert set(statuses) <= {200, 409}
    eventually(lambda: users_of(db) == {user_of(world, owner).name})
    assert owner.get("/api/users/me").status_code == 200


def test_the_platform_says_what_it_lacks_to_make_users(
    make_world: MakeWorld, mongod: EmbeddedServer, mongo: Client
) -> None:
    roles = ["readWriteAnyDatabase", "dbAdminAnyDatabase"]
    mongo.admin.command("createUser", "modest", pwd="modest", roles=roles)
    try:
        uri = f"mongodb://modest:modest@127.0.0.1:{mongod._port}/?authSource=admin"
        world = make_world(admin_db_uri=uri)
        owner = world.tenant("Acme")
        before = world.databases()
        fields = {"name": "Globex", "email": "g@globex.example", "isolation": "dedicated"}
        for response in (switch(world, owner, "dedicated"), world.add(**fields)):
            assert "userAdminAnyDatabase" in response.get_json()["message"]
            refusal(response, 409, "conflict")
        assert world.databases() == before
        assert owner.get("/api/users/me").status_code == 200
        world.platform.close(timeout=1)
    finally:
        mongo.admin.command("dropUser", "modest")


class TestConnections:
    """GET /api/connections, and the budget behind it."""

    def report(self, world: World) -> Any:
        return answer(world.operator.get("/api/connections"))

    def counted_by_mongod(self, mongo: Client) -> int:
        """The application's connections, as the server counts them."""
        stages: list[dict[str, Any]] = [
            {"$currentOp": {"allUsers": True, "idleConnections": True}},
            {"$match": {"appName": "multitenant"}},
            {"$group": {"_id": "$client"}},
        ]
        return len(list(mongo.admin.aggregate(stages)))

    def test_what_it_says_agrees_with_what_mongod_counts(
        self, make_world: MakeWorld, mongo: Client
    ) -> None:
        eventually(lambda: self.counted_by_mongod(mongo) == 0)
        world = make_world()
        shared = [world.tenant(name) for name in ("Acme", "Globex")]
        dedicated = [world.tenant(name, isolation="dedicated") for name in ("Initech", "Umbrella")]
        with load(*shared, *dedicated, threads=2) as failures:
            time.sleep(0.5)
        assert failures == []

        def agrees() -> bool:
            sockets = self.report(world)["sockets"]
            return bool(sockets["open"] == self.counted_by_mongod(mongo))

        eventually(agrees)
        report = self.report(world)
        kinds = [client["kind"] for client in report["clients"]]
        assert sorted(kinds) == ["dedicated", "dedicated", "shared"]
        assert report["sockets"]["open"] <= report["sockets"]["limit"]
        assert report["sockets"]["limit"] <= report["sockets"]["budget"] == 250
        assert report["leases"] == 1, "that of this very request"
        assert report["cache"]["size"] == 5
        for client in report["clients"]:
            assert client["open"] == client["pooled"] + client["monitoring"]
            assert 0 < client["open"] <= client["limit"]
        assert "mongodb://" not in str(report)

    def test_more_dedicated_tenants_than_the_budget_has_room_for_take_turns(
        self, make_world: MakeWorld
    ) -> None:
        world = make_world(
            max_pool_size=24, connection_budget=24 + 2 + 3 * 5
        )  # the cluster's, and three of five
        owners = [world.tenant(f"T{number}", isolation="dedicated") for number in range(6)]
        for _ in range(3):
            for owner in owners:
                assert owner.get("/api/users/me").status_code == 200
                report = self.report(world)
                assert report["sockets"]["limit"] <= report["sockets"]["budget"]
        assert sum(client["kind"] == "dedicated" for client in report["clients"]) == 3
        assert report["cache"]["evictions"] >= 12

    def test_when_all_are_in_use_the_next_one_is_asked_to_come_again(
        self, make_world: MakeWorld
    ) -> None:
        world = make_world(max_pool_size=24, connection_budget=24 + 2 + 5)
        acme, globex = (world.tenant(name, isolation="dedicated") for name in ("Acme", "Globex"))
        with world.platform.connections.lease(ObjectId(acme.tenant_id)):
            response = globex.get("/api/users/me")
            refusal(response, 503, "database_unavailable")
            assert response.headers["Retry-After"]
            assert acme.get("/api/users/me").status_code == 200
        assert globex.get("/api/users/me").status_code == 200

    def test_an_idle_dedicated_client_is_closed(self, make_world: MakeWorld) -> None:
        world = make_world(dedicated_idle_seconds=0.5)
        owner = world.tenant("Acme", isolation="dedicated")
        assert owner.get("/api/users/me").status_code == 200
        db = world.db_of(owner.tenant_id)
        eventually(lambda: connected_users(db) == set())
        assert owner.get("/api/users/me").status_code == 200


def test_purging_a_dedicated_tenant_drops_its_user_too(world: World) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    rotate(world, owner)
    db = world.db_of(owner.tenant_id)
    path = f"/api/tenants/{owner.tenant_id}"
    world.operator.delete(path)
    gone = answer(world.operator.post(f"{path}/purge", {"confirm": "Acme"}))["gone"]
    parts = ("tenant", "memberships", "revocations", "database", "cacheEntry", "databaseUsers")
    assert gone == dict.fromkeys(parts, True)
    assert users_of(db) == set()
