"""Tenants on another cluster than the admin database's: a second real replica set."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from multitenant.repositories.admin.provisionings import insert_provisioning
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.orphans import drop_orphan
from multitenant.tenancy.migrations import TENANT_VERSION
from multitenant.tenancy.operations.fleet import Fleet
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.integration.test_dedicated import users_of
from tests.integration.test_garbage import find
from tests.leftovers import drop_leftovers
from tests.support import PASSWORD, User, World, answer, eventually, refusal

Client = MongoClient[dict[str, Any]]
Run = Callable[[list[Callable[[], Any]]], list[Any]]

ACME = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD, "cluster": "blue"}
ACTOR = Actor.on_command_line()


def purge(world: World, owner: User, name: str = "Acme") -> Any:
    path = f"/api/tenants/{owner.tenant_id}"
    assert world.operator.delete(path).status_code == 200
    return answer(world.operator.post(f"{path}/purge", {"confirm": name}))["gone"]


def test_a_tenant_lives_where_it_was_told_and_everything_works(world: World, blue: Client) -> None:
    owner = world.tenant("Acme", cluster="blue", userLimit=2)
    record = world.record(owner.tenant_id)
    assert (record["cluster"], record["isolation"]) == ("blue", "shared")
    db = blue[record["dbName"]]
    item = answer(owner.post("/api/to-do-list", {"title": "x"}))
    assert db["todos"].find_one({"_id": ObjectId(item["id"])}) is not None
    assert record["dbName"] not in world.admin_db.client.list_database_names()
    order = {"items": [{"name": "pen", "quantity": 2, "price": "1.50"}]}
    assert answer(owner.post("/api/orders", order))["total"] == "3.00"

    ben = {"email": "ben@acme.example", "password": PASSWORD}
    assert owner.post("/api/users", ben).status_code == 201
    refusal(owner.post("/api/users", {"email": "x@acme.example"}), 409, "user_limit_reached")
    added = world.login("ben@acme.example")
    assert owner.patch(f"/api/users/{added.user_id}", {"role": "admin"}).status_code == 200
    refusal(added.get("/api/users/me"), 401, "token_revoked")
    assert owner.delete(f"/api/users/{added.user_id}").status_code == 200
    other = world.login("owner@acme.example")
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    assert owner.put("/api/users/me/password", body).status_code == 200
    refusal(other.get("/api/users/me"), 401, "token_revoked")

    usage = answer(world.operator.get(f"/api/tenants/{owner.tenant_id}/usage"))
    names = db.list_collection_names()
    assert usage["documents"] == sum(db[name].count_documents({}) for name in names)
    gone = purge(world, owner)
    assert set(gone) >= {"tenant", "memberships", "database", "databaseUsers"}
    assert all(gone.values())
    assert db.list_collection_names() == []


def test_tenants_on_two_clusters_cannot_see_each_other(world: World, blue: Client) -> None:
    here = world.tenant("Acme", cluster="default")
    there = world.tenant("Globex", cluster="blue")
    for mine, others in ((here, there), (there, here)):
        path = f"/api/to-do-list/{answer(mine.post('/api/to-do-list', {'title': 'x'}))['id']}"
        for method, body in (("GET", None), ("PATCH", {"done": True}), ("DELETE", None)):
            refusal(others.send(method, path, body), 404, "not_found")
        assert len(answer(others.get("/api/to-do-list"))["items"]) <= 1
        refusal(others.get(f"/api/users/{mine.user_id}"), 404, "not_found")
        refusal(
            mine.get("/api/users/me", headers={"X-Tenant-Id": others.tenant_id}),
            403,
            "tenant_mismatch",
        )
        assert mine.get(path).status_code == 200


def test_a_dedicated_tenant_has_its_mongodb_user_there(world: World, blue: Client) -> None:
    owner = world.tenant("Acme", cluster="blue", isolation="dedicated")
    db = blue[world.record(owner.tenant_id)["dbName"]]
    (first,) = users_of(db)
    path = f"/api/tenants/{owner.tenant_id}"
    assert owner.post("/api/to-do-list", {"title": "x"}).status_code == 201
    report = answer(world.operator.get("/api/connections"))
    (own,) = [client for client in report["clients"] if client["kind"] == "dedicated"]
    assert (own["cluster"], own["tenantId"]) == ("blue", owner.tenant_id)

    assert world.operator.post(f"{path}/rotate-credentials").status_code == 200
    assert owner.get("/api/to-do-list").status_code == 200
    assert world.operator.patch(path, {"isolation": "shared"}).status_code == 200
    assert owner.get("/api/to-do-list").status_code == 200
    for retiring in world.platform.credentials._retiring:
        retiring.settled_at = 0
    eventually(lambda: users_of(db) == set())
    assert first not in users_of(db)
    assert all(purge(world, owner).values())


def test_users_that_nobody_needs_there_are_garbage(world: World, blue: Client) -> None:
    owner = world.tenant("Acme", cluster="blue", isolation="dedicated")
    db = blue[world.record(owner.tenant_id)["dbName"]]
    long_ago = utc_now() - timedelta(days=1)
    db.command("createUser", "left", pwd="x", roles=[], customData={"multitenantMadeAt": long_ago})
    (garbage,) = find(world)
    assert garbage.name == f"1 of {db.name}"
    assert garbage.remove()
    assert len(users_of(db)) == 1
    assert owner.get("/api/users/me").status_code == 200


def test_they_are_migrated_with_all_others(world: World, blue: Client) -> None:
    owner = world.tenant("Acme", cluster="blue")
    record = world.record(owner.tenant_id)
    blue[record["dbName"]]["migrations"].delete_one({"_id": TENANT_VERSION})
    platform = world.platform
    with Fleet(platform.connections, platform.cipher, parallel=2) as fleet:
        (done,) = fleet.migrate([record])
    assert (done.before, done.after, done.error) == (TENANT_VERSION - 1, TENANT_VERSION, None)


class TestHalfChangedUsers:
    """As a process leaves them that is killed between the two databases (ADR 10)."""

    def test_a_change_that_is_asked_for_again_ends_the_sessions_of_before(
        self, world: World, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="blue")
        ben = world.colleague(owner, "admin")
        changes = {"$set": {"role": "member"}, "$inc": {"tokenVersion": 1}}
        db = blue[world.record(owner.tenant_id)["dbName"]]
        db["users"].update_one({"_id": ObjectId(ben.user_id)}, changes)
        assert ben.get("/api/users/me").status_code == 200, "until the token expires"
        path = f"/api/users/{ben.user_id}"
        assert owner.patch(path, {"role": "member"}).status_code == 200
        refusal(ben.get("/api/users/me"), 401, "token_revoked")

    def test_a_removal_that_is_asked_for_again_is_done_with(
        self, world: World, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="blue", userLimit=2)
        ben = world.colleague(owner, "member")
        db = blue[world.record(owner.tenant_id)["dbName"]]
        db["users"].delete_one({"_id": ObjectId(ben.user_id)})
        refusal(owner.delete(f"/api/users/{ben.user_id}"), 404, "not_found")
        refusal(ben.get("/api/users/me"), 401, "token_revoked")
        assert world.admin_db["tenantusers"].count_documents({}) == 2
        world.colleague(owner, "member")  # there is room again

    def test_a_membership_without_a_user_is_garbage_when_it_is_old(
        self, world: World, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="blue")
        tenant_id, db = ObjectId(owner.tenant_id), blue[world.record(owner.tenant_id)["dbName"]]
        memberships = world.admin_db["tenantusers"]
        young, old = ObjectId(), ObjectId.from_datetime(utc_now() - timedelta(hours=1))
        for own_id in (young, old):
            email = f"{own_id}@acme.example"
            memberships.insert_one({"_id": own_id, "email": email, "tenantId": tenant_id})
        (owners,) = db["users"].find()
        db["users"].delete_one({})
        assert find(world) == [], "a database without an owner is not as it should be"
        db["users"].insert_one(owners)
        (garbage,) = find(world)
        assert (garbage.kind, garbage.name) == ("memberships", "1 of Acme")
        assert garbage.remove()
        left = {one["_id"] for one in memberships.find({"tenantId": tenant_id})}
        assert left == {young, ObjectId(owner.user_id)}
        memberships.delete_one({"_id": young})
        assert owner.get("/api/users/me").status_code == 200


class TestInvariantOne:
    """A tenant exists entirely, or not at all, where no transaction spans both clusters."""

    @pytest.mark.slow
    def test_failing_at_any_write_leaves_nothing_and_can_be_repeated(
        self, world: World, mongo: Client, blue: Client
    ) -> None:
        world.operator  # noqa: B018
        world.recorder.commands.clear()
        first = world.add(**{**ACME, "name": "First", "email": "first@acme.example"})
        prefix = world.platform.settings.tenant_db_prefix
        writes = ("insert", "update", "delete", "createIndexes", "commitTransaction")
        sent = [(db, name) for db, name, _ in world.recorder.commands if name in writes]
        # commitTransaction goes to `admin`; the only one is the admin database's
        there = [name for db, name in sent if db.startswith(prefix)]
        here = [name for db, name in sent if not db.startswith(prefix)]
        assert first.status_code == 201
        assert len(there) >= 8
        assert len(here) >= 5
        kept = set(blue.list_database_names())
        for client, commands in ((blue, there), (mongo, here)):
            for step, command in enumerate(commands):
                skip = {"skip": commands[:step].count(command)}
                with failing(client, skip, command, errorCode=2):
                    response = world.add(**ACME)
                what = f"write {step}, {command}: {response.text}"
                assert response.status_code == 500, what
                _collect_garbage(world)
                assert set(blue.list_database_names()) == kept, what
                assert world.admin_db["tenants"].count_documents({"name": "Acme"}) == 0, what
                assert world.admin_db["tenantusers"].count_documents({}) == 2, what
        assert world.add(**ACME).status_code == 201


def _collect_garbage(world: World) -> None:
    drop_leftovers(world)
    assert world.admin_db["provisionings"].count_documents({}) == 0


def test_gc_spares_what_is_in_use_although_it_is_noted(world: World, blue: Client) -> None:
    """As after the admin database was restored from a backup that was made while the tenant was
    being added. One who has done nothing yet looks like one who never came to be."""
    password = {"currentPassword": PASSWORD, "newPassword": "another one"}
    for method, path, body in (
        ("POST", "/api/to-do-list", {"title": "x"}),
        ("POST", "/api/users", {"email": "ben@acme.example"}),
        ("PUT", "/api/users/me/password", password),
    ):
        owner = world.tenant(f"T{len(body)}{len(path)}", cluster="blue")
        assert owner.send(method, path, body).status_code in (200, 201)
        record = world.record(owner.tenant_id)
        note = insert_provisioning(
            world.admin_db, record["_id"], db_name=record["dbName"], cluster="blue"
        )
        platform = world.platform
        assert not drop_orphan(platform.connections, platform.cipher, note["_id"], note)
        assert blue[record["dbName"]]["users"].count_documents({}) >= 1


class TestNewUri:
    """The URI of a cluster changes while its tenants work."""

    @pytest.fixture
    def second_uri(self, blue: Client, elsewhere: EmbeddedServer) -> Iterator[str]:
        blue.admin.command("createUser", "second", pwd="second", roles=["root"])
        yield elsewhere.uri.replace(f"multitenant:{elsewhere._password}", "second:second")
        blue.admin.command("dropUser", "second")

    def test_every_process_follows_and_no_request_fails(
        self, world: World, make_world: MakeWorld, blue: Client, second_uri: str
    ) -> None:
        """The new client logs in as another user; a request in hand keeps the old one."""
        names = ("Acme", "Globex", "Initech")
        owners = [world.tenant(name, cluster="blue") for name in names]
        dedicated = world.tenant("Umbrella", cluster="blue", isolation="dedicated")
        other = make_world()
        statuses: list[int] = []
        ended = threading.Event()

        def work(of: World, owner: User) -> None:
            client = of.client
            while not ended.is_set():
                headers = {"Authorization": f"Bearer {owner.access}"}
                statuses.append(client.get("/api/to-do-list", headers=headers).status_code)

        workers = [
            threading.Thread(target=work, args=(of, owner))
            for of in (world, other)
            for owner in [*owners, dedicated]
        ]
        for worker in workers:
            worker.start()
        try:
            eventually(lambda: len(statuses) > 50)
            eventually(lambda: all(_client_of(of, "blue") for of in (world, other)))
            before = [_client_of(of, "blue") for of in (world, other)]
            lease = world.platform.connections.lease(ObjectId(owners[0].tenant_id))
            world.platform.clusters.change("blue", ACTOR, uri=second_uri, capacity={})
            eventually(lambda: {_user_of(of) for of in (world, other)} == {"second"})
            assert lease.database.client is before[0]
            assert lease.database.command("ping")["ok"] == 1
            lease.release()
            eventually(lambda: all(client._closed for client in before))
            count = len(statuses)
            eventually(lambda: len(statuses) > count + 100)
        finally:
            ended.set()
            for worker in workers:
                worker.join()
        assert set(statuses) == {200}
        for of in (world, other):
            opened = [name for name, _ in of.platform.connections.cluster_clients()]
            assert sorted(opened) == ["blue", "default"]

    def test_a_process_that_hears_of_no_changes_looks_itself(
        self, world: World, blue: Client, mongo: Client, second_uri: str
    ) -> None:
        owner = world.tenant("Acme", cluster="blue")
        watcher = world.platform.watcher
        eventually(lambda: watcher.vouches_for(time.monotonic()))
        with failing(mongo, "alwaysOn", "getMore", "aggregate", errorCode=13):
            eventually(lambda: watcher._covered_since is None)
            world.platform.clusters.change("blue", ACTOR, uri=second_uri, capacity={})
            eventually(lambda: owner.get("/api/users/me").status_code == 200)
            eventually(
                lambda: (owner.get("/api/users/me").status_code, _user_of(world)) == (200, "second")
            )

    def test_new_keys_do_not_replace_the_client(self, world: World, blue: Client) -> None:
        """The record changes, and the URI does not."""
        owner = world.tenant("Acme", cluster="blue")
        assert owner.get("/api/users/me").status_code == 200
        before = _client_of(world, "blue")
        uri = {"uri": world.platform.cipher.encrypt(_uri(world), record_id="blue", field="uri")}
        world.admin_db["clusters"].update_one({"_id": "blue"}, {"$set": uri})
        time.sleep(0.5)
        assert owner.get("/api/users/me").status_code == 200
        assert _client_of(world, "blue") is before


def _uri(world: World) -> str:
    return world.platform.connections._clusters.uri("blue")


def _client_of(world: World, cluster: str) -> Any:
    shared = world.platform.connections._clusters._clients.get(cluster)
    return shared.opened.client if shared else None


def _user_of(world: World) -> str | None:
    client = _client_of(world, "blue")
    return client.options.pool_options._credentials.username if client else None


def test_a_cluster_that_was_added_elsewhere_is_known_here_without_a_restart(
    world: World, make_world: MakeWorld, elsewhere: EmbeddedServer, theirs: Client
) -> None:
    other = make_world()
    other.operator  # noqa: B018
    world.platform.clusters.add("blue", elsewhere.uri, {}, ACTOR)
    owner = other.tenant("Acme", cluster="blue")
    headers = {"Authorization": f"Bearer {owner.access}"}
    assert world.client.get("/api/users/me", headers=headers).status_code == 200
    report = answer(world.operator.get("/api/connections"))
    assert {client["cluster"] for client in report["clients"]} == {"default", "blue"}
    assert report["sockets"]["limit"] == sum(client["limit"] for client in report["clients"])
    theirs.drop_database(world.record(owner.tenant_id)["dbName"])


def test_a_clusters_client_makes_room_within_the_budget(
    make_world: MakeWorld, elsewhere: EmbeddedServer, theirs: Client
) -> None:
    """24 + 2 for the admin database's cluster, 24 + 1 for another, 5 for each dedicated tenant."""
    world = make_world(max_pool_size=24, connection_budget=26 + 25 + 4, tenant_stale_seconds=60)
    world.platform.clusters.add("blue", elsewhere.uri, {}, ACTOR)
    dedicated = world.tenant("Acme", isolation="dedicated", cluster="default")
    assert dedicated.get("/api/users/me").status_code == 200
    assert len(world.platform.connections.own_clients()) == 1
    shared = world.tenant("Globex", cluster="blue")
    assert shared.get("/api/users/me").status_code == 200
    assert world.platform.connections.own_clients() == []
    report = answer(world.operator.get("/api/connections"))
    assert report["sockets"]["limit"] <= report["sockets"]["budget"]
    refusal(dedicated.get("/api/users/me"), 503, "database_unavailable")
    theirs.drop_database(world.record(shared.tenant_id)["dbName"])


def test_a_tenant_whose_cluster_is_not_there_is_unavailable(world: World, blue: Client) -> None:
    owner = world.tenant("Acme", cluster="blue")
    record = world.admin_db["clusters"].find_one_and_delete({"_id": "blue"})
    assert record is not None
    eventually(lambda: owner.get("/api/users/me").status_code == 503)
    world.admin_db["clusters"].insert_one(record)
    eventually(lambda: owner.get("/api/users/me").status_code == 200)


@pytest.mark.slow
class TestDown:
    """A cluster does not answer."""

    TIMEOUT = 2.5
    """What waits for it waits for so many seconds; whoever took less was answered at once, on
    however busy a machine."""

    @pytest.fixture
    def world(self, make_world: MakeWorld) -> World:
        return make_world(
            operation_timeout_ms=int(self.TIMEOUT * 1000), threads=8, tenant_max_concurrency=8
        )

    @pytest.fixture(params=["stopped", "hanging"])
    def down(self, request: Any, elsewhere: EmbeddedServer, theirs: Client) -> Any:
        """Take the second deployment down, in the block."""

        @contextmanager
        def down() -> Iterator[None]:
            if request.param == "hanging":
                assert elsewhere.pid
                os.kill(elsewhere.pid, signal.SIGSTOP)
            else:
                elsewhere.stop()
            try:
                yield
            finally:
                if request.param == "hanging":
                    assert elsewhere.pid
                    os.kill(elsewhere.pid, signal.SIGCONT)
                else:
                    elsewhere.start()
                eventually(lambda: bool(theirs.admin.command("ping")))

        return down

    def test_its_tenants_are_unavailable_and_no_others_are_disturbed(
        self,
        world: World,
        blue: Client,
        down: Any,
        run_together: Run,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr("multitenant.tenancy.operations.usage.TENANT_SECONDS", self.TIMEOUT)
        there = [world.tenant(name, cluster="blue") for name in ("Acme", "Globex", "Initech")]
        here = world.tenant("Umbrella", email="owner@acme.example", cluster="default")
        for owner in (*there, here):
            assert owner.get("/api/users/me").status_code == 200
        with down():
            first = run_together([partial(_timed, owner) for owner in there])
            assert {status for status, _ in first} == {503}
            several = run_together([partial(_timed, there[n % 3]) for n in range(12)])
            assert {status for status, _ in several} == {503}
            at_once = [seconds for _, seconds in several if seconds < self.TIMEOUT]
            assert len(at_once) >= 10, "but two of eight threads wait for it"
            calls: list[Callable[[], Any]] = [partial(_timed, owner) for owner in there * 4]
            calls += [partial(_timed, here)] * 4
            mixed = run_together(calls)
            assert all(status == 200 and seconds < self.TIMEOUT for status, seconds in mixed[-4:])
            assert world.client.get("/readyz").status_code == 200

            usage = answer(world.operator.get("/api/usage"))
            assert {error["name"] for error in usage["errors"]} == {"Acme", "Globex", "Initech"}
            assert {item["name"] for item in usage["items"]} == {"operators", "Umbrella"}
            assert world.login("owner@acme.example").tenant_id == here.tenant_id, "in both"
            added = world.add(name="Hooli", email="x@hooli.example")
            assert world.record(answer(added)["tenantId"])["cluster"] == "default"
        eventually(lambda: _all_work(there))
        _collect_garbage(world)


def _timed(owner: User) -> tuple[int, float]:
    started = time.monotonic()
    status = owner.get("/api/users/me").status_code
    return status, time.monotonic() - started


def _all_work(owners: list[User]) -> bool:
    return all(owner.get("/api/users/me").status_code == 200 for owner in owners)
