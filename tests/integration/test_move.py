"""`multitenant move`: to another cluster while the tenant works, between two real replica sets."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from multitenant.embedded import EmbeddedServer
from multitenant.errors import BackupError, Conflict, DomainError, NotFound
from multitenant.repositories.model import MongoDatabase, utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.operations.moving import Moved
from tests.conftest import MakeWorld
from tests.integration.backups import (
    Multitenant,
    back_up,
    memberships,
    raw_contents,
    restore,
    shapes,
    told,
    users,
)
from tests.integration.test_dedicated import users_of
from tests.support import PASSWORD, User, World, answer, eventually, in_thread, refusal

Client = MongoClient[dict[str, Any]]
MOVING: Any = import_module("multitenant.tenancy.operations.moving")
AUTHENTICATION: Any = import_module("multitenant.tenancy.users.authentication")
ACTOR = Actor.on_command_line()
ORDER = [
    {"name": "pen", "quantity": 2, "price": "1.50"},
    {"name": "ink", "quantity": 1, "price": "7"},
]


def move(world: World, owner: User, to: str | None = "blue", **options: Any) -> Moved:
    return world.platform.moves.move(ObjectId(owner.tenant_id), ACTOR, to=to, **options)


def todo(user: User, title: str) -> str:
    response = user.post("/api/to-do-list", {"title": title})
    assert response.status_code == 201, response.text
    return str(answer(response)["id"])


def titles(user: User) -> list[str]:
    return sorted(item["title"] for item in answer(user.get("/api/to-do-list"))["items"])


def database(world: World, owner: User, blue: Client) -> MongoDatabase:
    record = world.record(owner.tenant_id)
    client = blue if record["cluster"] == "blue" else world.admin_db.client
    return client[record["dbName"]]


def nothing_is_left(world: World, blue: Client, owner: User) -> None:
    """The tenant is where it was, works, and no database is left of the move."""
    record = world.record(owner.tenant_id)
    assert (record["cluster"], record["status"]) == ("default", "active")
    assert "readOnly" not in record
    assert world.admin_db["provisionings"].count_documents({}) == 0
    prefix = world.platform.settings.tenant_db_prefix
    assert [name for name in blue.list_database_names() if name.startswith(prefix)] == []
    todo(owner, "it works")


@contextmanager
def at_work(*work: Callable[[], None]) -> Iterator[None]:
    """Do these again and again, each in a thread, during the block; raise what one has raised."""
    ended = threading.Event()
    failures: list[BaseException] = []

    def run(one: Callable[[], None]) -> None:
        try:
            while not ended.is_set():
                one()
        except BaseException as failure:  # noqa: BLE001  # raised below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def wait_for_writes(writers: list["Writer"], number: int) -> None:
    """Wait until each of them has done all its steps that many times more."""
    wanted = [(writer, len(writer.orders) + number) for writer in writers]
    eventually(lambda: all(len(writer.orders) >= orders for writer, orders in wanted))


class Writer:
    """A user who writes all the time, in one process, and remembers what was acknowledged."""

    def __init__(self, world: World, owner: User, name: str, elsewhere: World) -> None:
        self._client = world.client
        self._reader = elsewhere.client
        self._headers = {"Authorization": f"Bearer {owner.access}"}
        self._name = name
        self._count = 0
        self.todos: dict[str, dict[str, Any]] = {}
        self.deleted: list[str] = []
        self.orders: dict[str, int] = {}
        self.refused = 0

    def __call__(self) -> None:
        """Make a to-do, change it, sometimes delete it, and place an order; after each, another
        process answers what was written."""
        self._count += 1
        title = f"{self._name} {self._count}"
        made = answer(self._send("POST", "/api/to-do-list", {"title": title}, 201))
        path = f"/api/to-do-list/{made['id']}"
        assert self._read(path)["title"] == title
        if self._count % 4:
            self._send("PATCH", path, {"done": True}, 200)
            assert self._read(path)["done"] is True
            self.todos[made["id"]] = {"title": title, "done": True}
        else:
            self._send("DELETE", path, None, 200)
            assert self._reader.get(path, headers=self._headers).status_code == 404
            self.deleted.append(made["id"])
        items = [{**ORDER[0], "quantity": n + 1} for n in range(self._count % 3 + 1)]
        placed = answer(self._send("POST", "/api/orders", {"items": items}, 201))
        assert len(self._read(f"/api/orders/{placed['id']}")["items"]) == len(items)
        self.orders[placed["id"]] = len(items)

    def _send(self, method: str, path: str, json: Any, status: int) -> Any:
        while True:
            response = self._client.open(path, method=method, json=json, headers=self._headers)
            if response.status_code == status:
                return response
            refusal(response, 503, "tenant_maintenance")
            assert int(response.headers["Retry-After"]) >= 1
            self.refused += 1
            time.sleep(0.01)

    def _read(self, path: str) -> Any:
        response = self._reader.get(path, headers=self._headers)
        assert response.status_code == 200, response.text
        return answer(response)

    def check(self, db: MongoDatabase) -> None:
        """All that was acknowledged is there, once and in its last state."""
        stored = {str(one["_id"]): one for one in db["todos"].find()}
        mine = {key for key, one in stored.items() if one["title"].startswith(self._name + " ")}
        assert mine == self.todos.keys()
        assert not set(self.deleted) & stored.keys()
        for key, expected in self.todos.items():
            assert {name: stored[key][name] for name in expected} == expected
        for key, count in self.orders.items():
            assert db["orders"].find_one({"_id": ObjectId(key)})
            assert db["orderItems"].count_documents({"orderId": ObjectId(key)}) == count


class TestUnderWrites:
    @pytest.mark.slow
    def test_no_acknowledged_write_is_lost_between_two_clusters_back_and_forth(
        self, world: World, make_world: MakeWorld, blue: Client
    ) -> None:
        owner, other = (
            world.tenant("Acme", cluster="default"),
            world.tenant("Globex", cluster="default"),
        )
        process = make_world()
        todo(other, "theirs")
        for n in range(300):
            world.db_of(owner.tenant_id)["posts"].insert_one({"n": n, "text": "x" * 500})
        writers = [
            Writer(world, owner, "a", process),
            Writer(process, owner, "b", world),
            Writer(world, owner, "c", world),
        ]

        def look_at_others() -> None:
            assert titles(other) == ["theirs"]

        moved = []
        with at_work(*writers, look_at_others):
            for to in ("blue", "default", "blue"):
                wait_for_writes(writers, 5)
                moved.append(move(world, owner, to))
            wait_for_writes(writers, 5)
        db = database(world, owner, blue)
        assert world.record(owner.tenant_id)["cluster"] == "blue"
        assert [one.to_cluster for one in moved] == ["blue", "default", "blue"]
        assert sum(writer.refused for writer in writers) > 0, "there was a pause"
        for writer in writers:
            writer.check(db)
        assert db["orders"].count_documents({}) == sum(len(one.orders) for one in writers)
        assert db["orderItems"].count_documents({}) == sum(
            sum(one.orders.values()) for one in writers
        )
        assert db["posts"].count_documents({}) == 300
        assert memberships(world, owner.tenant_id) == users(db)
        assert all(one.late == 0 and one.verified for one in moved)
        assert all(0 < one.pause_seconds < one.seconds for one in moved)
        assert sum(one.followed for one in moved) > 0

    @pytest.mark.slow
    def test_unique_values_that_change_hands_arrive(self, world: World, blue: Client) -> None:
        """Three requests to swap the emails of two employees; a copy in between has both, or
        neither."""
        owner = world.tenant("Acme", cluster="default")
        body = {"name": "x", "email": "one@acme.example"}
        ids = [
            answer(owner.post("/api/employees", {**body, "email": email}))["id"]
            for email in ("one@acme.example", "two@acme.example")
        ]
        emails = ["one@acme.example", "two@acme.example"]

        def set_email(which: int, email: str) -> None:
            path = f"/api/employees/{ids[which]}"
            while (status := owner.patch(path, {"email": email}).status_code) == 503:
                time.sleep(0.01)
            assert status == 200

        def swap() -> None:
            set_email(0, "between@acme.example")
            set_email(1, emails[0])
            set_email(0, emails[1])
            emails.reverse()

        with at_work(swap):
            for to in ("blue", "default", "blue"):
                move(world, owner, to)
        stored = {
            str(one["_id"]): one["email"]
            for one in database(world, owner, blue)["employees"].find()
        }
        assert stored == dict(zip(ids, emails, strict=True))

    def test_a_value_that_is_still_somebody_elses_in_the_copy_arrives_later(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each change is copied by itself, as the document is then: after the swap."""
        owner = world.tenant("Acme", cluster="default")
        employees = world.db_of(owner.tenant_id)["employees"]
        employees.insert_many([{"_id": "a", "email": "one"}, {"_id": "b", "email": "two"}])
        monkeypatch.setattr("multitenant.tenancy.contents.following.BATCH", 1)

        def swap(step: str) -> None:
            if step.startswith("Copied"):
                for one, email in (("a", "between"), ("b", "one"), ("a", "two")):
                    employees.update_one({"_id": one}, {"$set": {"email": email}})

        move(world, owner, tell=swap)
        found = {
            one["_id"]: one["email"] for one in database(world, owner, blue)["employees"].find()
        }
        assert found == {"a": "two", "b": "one"}

    def test_it_has_the_same_collections_indexes_and_documents_byte_for_byte(
        self, world: World, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        todo(owner, "x")
        assert owner.post("/api/orders", {"items": ORDER}).status_code == 201
        source = world.db_of(owner.tenant_id)
        source.create_collection("odd", collation={"locale": "en", "strength": 2})
        ids: list[Any] = [1, 1.5, "text", {"a": 1, "b": [2]}, b"raw", None, utc_now()]
        source["odd"].insert_many({"_id": one, "v": 1} for one in ids)
        source["odd"].create_index("v", name="v", partialFilterExpression={"v": {"$gt": 5}})
        source.create_collection("strict", validator={"v": {"$type": "int"}})
        source["strict"].insert_one({"v": "older"}, bypass_document_validation=True)
        source.create_collection("seen", viewOn="odd", pipeline=[{"$match": {"v": 1}}])

        def change(step: str) -> None:
            if step.startswith("Copied"):
                for one in ids:
                    source["odd"].update_one({"_id": one}, {"$set": {"v": 9, "w": [1, {"z": 1}]}})
                source["odd"].replace_one({"_id": 1}, {"_id": 1.0, "z": 1, "a": 2})
                source["odd"].delete_one({"_id": "text"})
                source["strict"].update_one({}, {"$set": {"w": 1}}, bypass_document_validation=True)
                source["made"].insert_one({"_id": 1})

        moved = move(world, owner, tell=change)
        target = database(world, owner, blue)
        assert raw_contents(target) == raw_contents(source)
        assert shapes(target) == shapes(source)
        assert "copying" not in target.list_collection_names()
        assert moved.followed >= 9
        assert target["seen"].count_documents({}) == source["seen"].count_documents({})


class TestThePause:
    def test_the_tenant_can_be_read_and_is_not_written_to(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, other = (
            world.tenant("Acme", cluster="default"),
            world.tenant("Globex", cluster="default"),
        )
        todo(owner, "x")
        seen: list[str] = []
        real = MOVING.Follower.finish

        def look(follower: Any) -> None:
            assert titles(owner) == ["x"]
            body = {"email": "owner@acme.example", "password": PASSWORD}
            headers = {"Authorization": f"Bearer {owner.refresh}"}
            invited = {"email": "ben@acme.example"}
            for response in (
                owner.post("/api/to-do-list", {"title": "y"}),
                owner.post("/api/users", invited),
                world.client.post("/api/login", json=body),
                world.client.post("/api/refresh", headers=headers),
            ):
                refusal(response, 503, "tenant_maintenance")
                assert response.headers["Retry-After"]
            todo(other, "y")
            seen.append(world.record(owner.tenant_id)["status"])
            real(follower)

        monkeypatch.setattr(MOVING.Follower, "finish", look)
        move(world, owner)
        assert seen == ["maintenance"]
        assert world.record(owner.tenant_id)["status"] == "active"
        assert titles(owner) == ["x"]
        todo(owner, "y")

    def test_a_request_that_began_before_is_waited_for_and_its_write_is_not_lost(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        monkeypatch.setattr(MOVING.Moves, "_rehearse", lambda *_: None)
        lease = world.platform.connections.lease(ObjectId(owner.tenant_id))
        results: list[Moved] = []
        thread = threading.Thread(target=lambda: results.append(move(world, owner)))
        thread.start()
        try:
            eventually(lambda: owner.post("/api/to-do-list", {"title": "no"}).status_code == 503)
            time.sleep(0.2)
            lease.database["todos"].insert_one({"title": "late", "createdAt": utc_now()})
        finally:
            lease.release()
            thread.join()
        assert results[0].pause_seconds > 0.2
        found = database(world, owner, blue)["todos"].distinct("title")
        assert "late" in found

    def test_nobody_may_write_before_everybody_reads_the_new_database(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        real = MOVING.Moves._switch
        readers: list[threading.Timer] = []

        def switch(*args: Any) -> Any:
            lease = world.platform.connections.lease(ObjectId(owner.tenant_id))
            readers.append(threading.Timer(0.5, lease.release))
            readers[0].start()
            return real(*args)

        monkeypatch.setattr(MOVING.Moves, "_switch", switch)
        assert move(world, owner).pause_seconds > 0.5
        readers[0].join()

    def test_a_process_that_does_not_answer_ends_the_pause_and_nothing_was_moved(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        monkeypatch.setattr(MOVING, "ANSWER_SECONDS", 0.2)
        monkeypatch.setattr(MOVING.Moves, "_rehearse", lambda *_: None)
        with (
            world.platform.connections.lease(ObjectId(owner.tenant_id)),
            pytest.raises(Conflict, match="did not say in time"),
        ):
            move(world, owner)
        nothing_is_left(world, blue, owner)

    def test_a_process_that_was_killed_is_waited_for_before_the_pause(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        for module in (MOVING, import_module("multitenant.tenancy.routing.handshakes")):
            monkeypatch.setattr(module, "GONE_SECONDS", 2.0)
        monkeypatch.setattr(MOVING, "ANSWER_SECONDS", 0.5)
        seen = {"_id": "killed", "seenAt": utc_now() - timedelta(seconds=1)}
        world.admin_db["processes"].insert_one(seen)
        world.platform.connections.presence._note()
        moved = move(world, owner)
        assert moved.seconds - moved.pause_seconds > 0.9, "the waiting is no part of the pause"

    def test_what_a_process_writes_that_had_hung_is_told(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        old = world.db_of(owner.tenant_id)
        real = MOVING.Moves._serve_there

        def write(*args: Any) -> None:
            old["todos"].insert_one({"title": "too late"})
            real(*args)

        monkeypatch.setattr(MOVING.Moves, "_serve_there", write)
        assert move(world, owner).late == 1
        entry = answer(world.operator.get("/api/audit?action=tenant.moved"))["items"][0]
        assert (entry["outcome"], entry["details"]["lateDocuments"]) == ("failure", 1)


class TestRefused:
    def test_what_cannot_be_moved_or_not_there(self, world: World, blue: Client) -> None:
        owner = world.tenant("Acme", cluster="default")
        operators = world.operator
        for user, to, error, text in (
            (owner, "default", Conflict, "already"),
            (owner, "green", DomainError, "names no cluster"),
            (operators, "blue", Conflict, "operators' tenant stays"),
        ):
            with pytest.raises(error, match=text):
                move(world, user, to)
        with pytest.raises(NotFound):
            world.platform.moves.move(ObjectId(), ACTOR, to="blue")
        world.platform.clusters.drain("blue", ACTOR)
        with pytest.raises(DomainError, match="draining"):
            move(world, owner)
        with pytest.raises(Conflict, match="No other cluster"):
            move(world, owner, None)
        world.platform.clusters.open("blue", ACTOR)
        with pytest.raises(NotFound):
            world.platform.moves.cluster_before(ObjectId(owner.tenant_id))
        external = {"$set": {"cluster": "external"}}
        world.admin_db["tenants"].update_one({"name": "Acme"}, external)
        with pytest.raises(Conflict, match="server of its own"):
            move(world, owner)
        world.admin_db["tenants"].update_one({"name": "Acme"}, {"$set": {"cluster": "default"}})
        nothing_is_left(world, blue, owner)
        world.operator.delete(f"/api/tenants/{owner.tenant_id}")
        with pytest.raises(Conflict, match="deleted"):
            move(world, owner)

    def test_a_full_cluster_and_one_with_the_last_place(self, world: World, blue: Client) -> None:
        world.platform.clusters.change("blue", ACTOR, capacity={"tenants": 1})
        acme, globex = (world.tenant(name, cluster="default") for name in ("Acme", "Globex"))
        move(world, acme)
        with pytest.raises(Conflict, match="full"):
            move(world, globex)
        with pytest.raises(Conflict, match="full"):
            move(world, globex, None)
        assert world.record(globex.tenant_id)["cluster"] == "default"

    def test_while_somebody_works_in_a_shell(self, world: World, blue: Client) -> None:
        owner = world.tenant("Acme", cluster="default")
        access = import_module("multitenant.tenancy.routing.tenant_access").TenantAccess(
            world.platform.connections, world.platform.cipher
        )
        record = world.record(owner.tenant_id)
        with (
            access.opened(record, ACTOR, role="readWrite", through="x"),
            pytest.raises(Conflict, match="shell"),
        ):
            move(world, owner)
        nothing_is_left(world, blue, owner)

    @pytest.mark.parametrize(
        "change",
        [
            lambda db: db["todos"].create_index("x"),
            lambda db: db["todos"].drop(),
            lambda db: db["todos"].rename("done"),
            lambda db: db.create_collection("made", capped=True, size=4096),
            lambda db: db.command("collMod", "todos", validator={"x": {"$exists": False}}),
        ],
        ids=["index", "drop", "rename", "create", "validator"],
    )
    def test_a_migration_meanwhile_undoes_it(
        self, world: World, blue: Client, change: Callable[[MongoDatabase], Any]
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        source = world.db_of(owner.tenant_id)

        def meanwhile(step: str) -> None:
            if step.startswith("Comparing"):
                change(source)

        with pytest.raises(BackupError, match="meanwhile"):
            move(world, owner, tell=meanwhile)
        nothing_is_left(world, blue, owner)

    @pytest.mark.parametrize("how", ["changed", "missing", "added"])
    def test_a_copy_that_is_not_the_same_is_not_switched_to(
        self, world: World, blue: Client, how: str
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        todo(owner, "x")

        def tamper(step: str) -> None:
            if step.startswith("Comparing"):
                note = world.admin_db["provisionings"].find_one({})
                assert note
                todos = blue[note["dbName"]]["todos"]
                if how == "changed":
                    todos.update_one({}, {"$set": {"title": "y"}})
                elif how == "missing":
                    todos.delete_one({})
                else:
                    todos.insert_one({})

        with pytest.raises(BackupError, match="not the same"):
            move(world, owner, tell=tamper)
        nothing_is_left(world, blue, owner)
        assert titles(owner) == ["it works", "x"]

    def test_two_at_once_happen_one_after_another(
        self, world: World, blue: Client, run_together: Any
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        results = run_together([lambda: move(world, owner)] * 2)
        assert {type(result) for result in results} == {Moved, Conflict}
        assert len(world.platform.restoration.kept(ObjectId(owner.tenant_id))) == 1

    def test_a_tenant_that_is_suspended_stays_so_and_one_that_is_activated_meanwhile_stays_there(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        path = f"/api/tenants/{owner.tenant_id}"
        world.operator.post(f"{path}/suspend")
        move(world, owner)
        assert world.record(owner.tenant_id)["status"] == "suspended"
        refusal(owner.get("/api/users/me"), 403, "tenant_suspended")
        real = MOVING.Follower.finish

        def activate(follower: Any) -> None:
            real(follower)
            assert world.operator.post(f"{path}/activate").status_code == 200
            todo(owner, "acknowledged")

        monkeypatch.setattr(MOVING.Follower, "finish", activate)
        with pytest.raises(Conflict, match="changed meanwhile"):
            move(world, owner, "default")
        assert world.record(owner.tenant_id)["cluster"] == "blue"
        assert titles(owner) == ["acknowledged"]

    @pytest.mark.slow
    def test_a_target_that_goes_down_leaves_the_tenant_undisturbed(
        self,
        world: World,
        blue: Client,
        elsewhere: EmbeddedServer,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        for name in ("copying", "following", "comparing"):
            monkeypatch.setattr(f"multitenant.tenancy.contents.{name}.STEP_SECONDS", 0.7)
        monkeypatch.setattr("multitenant.tenancy.lifecycle.fresh_databases.STEP_SECONDS", 0.7)

        def stop(step: str) -> None:
            if step.startswith("Copied"):
                todo(owner, "x")
                elsewhere.stop()

        try:
            with pytest.raises(PyMongoError):
                move(world, owner, tell=stop)
            assert world.record(owner.tenant_id)["status"] == "active"
            todo(owner, "y")
            assert titles(owner) == ["x", "y"]
        finally:
            elsewhere.start()
            eventually(lambda: bool(blue.admin.command("ping")))
        moved = move(world, owner)
        assert world.admin_db["provisionings"].count_documents({"kept": None}) == 0
        assert (moved.documents, titles(owner)) == (moved.documents, ["x", "y"])


class TestAfterwards:
    def test_a_dedicated_tenant_gets_a_mongodb_user_there(self, world: World, blue: Client) -> None:
        owner = world.tenant("Acme", isolation="dedicated", cluster="default")
        old = world.db_of(owner.tenant_id)
        todo(owner, "x")
        move(world, owner)
        record = world.record(owner.tenant_id)
        assert (record["cluster"], record["isolation"]) == ("blue", "dedicated")
        assert len(users_of(database(world, owner, blue))) == 1
        assert titles(owner) == ["x"]
        world.platform.restoration.confirm(ObjectId(owner.tenant_id), ACTOR)
        assert users_of(old) == set()
        path = f"/api/tenants/{owner.tenant_id}"
        assert world.operator.post(f"{path}/rotate-credentials").status_code == 200
        todo(owner, "y")

    def test_sessions_invitations_and_the_audit_log_go_on(self, world: World, blue: Client) -> None:
        owner = world.tenant("Acme", cluster="default")
        invited = answer(owner.post("/api/users", {"email": "ben@acme.example"}))
        moved = move(world, owner)
        assert owner.get("/api/users/me").status_code == 200
        headers = {"Authorization": f"Bearer {owner.refresh}"}
        assert world.client.post("/api/refresh", headers=headers).status_code == 200
        accepted = {"token": invited["invitationToken"], "password": PASSWORD}
        assert world.client.post("/api/invitations/accept", json=accepted).status_code == 200
        entry = answer(world.operator.get("/api/audit?action=tenant.move"))["items"][0]
        assert entry["details"]["toCluster"] == "blue"
        entry = answer(world.operator.get("/api/audit?action=tenant.moved"))["items"][0]
        assert entry["details"]["pauseMs"] == round(moved.pause_seconds * 1000)

    def test_a_login_that_began_before_is_let_in_and_stays_in_the_tenants_databases(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The fixture looks at the commands: the check of isolation must know the new database."""
        owner = world.tenant("Acme", cluster="default")
        real = AUTHENTICATION.tenants.find_tenants_by_ids

        def move_then(*args: Any) -> Any:
            found = real(*args)
            in_thread(lambda: move(world, owner))
            return found

        monkeypatch.setattr(AUTHENTICATION.tenants, "find_tenants_by_ids", move_then)
        assert world.login("owner@acme.example").tenant_id == owner.tenant_id
        assert world.record(owner.tenant_id)["cluster"] == "blue"

    def test_going_back_from_a_restore_never_leads_to_what_a_move_has_left(
        self, world: World, blue: Client, tmp_path: Any
    ) -> None:
        """What was written since the move is not there."""
        owner = world.tenant("Acme", cluster="default")
        directory = back_up(world, owner, tmp_path)
        move(world, owner)
        tenant_id = ObjectId(owner.tenant_id)
        with pytest.raises(NotFound):
            world.platform.restoration.undo(tenant_id, ACTOR)
        before = world.record(owner.tenant_id)["dbName"]
        restored = restore(world, directory)
        record = world.record(owner.tenant_id)
        assert (record["cluster"], record["dbName"]) == ("blue", restored.db_name)
        assert world.platform.restoration.undo(tenant_id, ACTOR).db_name == before
        world.platform.restoration.confirm(tenant_id, ACTOR)

    def test_copies_are_placed_like_new_tenants(
        self, world: World, multitenant: Multitenant, blue: Client, tmp_path: Any
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        todo(owner, "x")
        directory = back_up(world, owner, tmp_path / "b")
        multitenant("clone", "Acme", "Clone", "--cluster", "blue")
        multitenant("restore", directory, "--as-new", "Copy", "--cluster", "blue")
        multitenant("clone", "Acme", "Nowhere", "--cluster", "green", code=1)
        world.platform.clusters.change("blue", ACTOR, capacity={"tenants": 2})
        multitenant("clone", "Acme", "Third", "--cluster", "blue", code=1)
        multitenant("clone", "Acme", "Fourth")
        found = {one["name"]: one["cluster"] for one in world.admin_db["tenants"].find()}
        del found["operators"]
        assert found == {"Acme": "default", "Clone": "blue", "Copy": "blue", "Fourth": "default"}
        clone = world.login("owner@acme.example", tenant="Clone")
        assert titles(clone) == ["x"]


class TestTheCommand:
    def test_it_moves_there_and_back_and_drops_what_was_before(
        self, world: World, multitenant: Multitenant, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="default")
        first = world.record(owner.tenant_id)["dbName"]
        todo(owner, "x")
        multitenant("move", "Acme", "--to", "blue", code=1)  # nobody says yes
        assert world.record(owner.tenant_id)["cluster"] == "default"
        there = told(multitenant("move", "Acme", "--to", "blue", "--yes", "--json"))
        assert (there["toCluster"], there["keptDbName"]) == ("blue", first)
        assert there["documentsVerified"] >= there["documents"] > 0
        assert 0 < there["pauseMs"] < 1000 * there["seconds"]
        todo(owner, "y")
        back = multitenant("move", "Acme", "--back", "--yes", "--no-verify")
        assert "is on default now" in back.output
        assert titles(owner) == ["x", "y"]
        dropped = told(multitenant("move", "Acme", "--confirm", "--yes", "--json"))["dropped"]
        assert sorted(dropped) == sorted([first, there["dbName"]])
        multitenant("move", "Acme", "--confirm", "--yes", code=1)
        multitenant("move", "Acme", "--confirm", "--back", code=2)
        multitenant("move", "Acme", code=2)

    @pytest.mark.slow
    def test_drain_moves_all_and_names_those_that_it_cannot(
        self, world: World, multitenant: Multitenant, blue: Client
    ) -> None:
        owners = [world.tenant(name, cluster="blue") for name in ("Acme", "Globex", "Initech")]
        world.operator.delete(f"/api/tenants/{owners[2].tenant_id}")
        with at_work(lambda: self._works(owners[0])):
            failed = multitenant("clusters", "drain", "blue", "--move", "--json", code=1)
        done = told(failed)
        assert {one["name"] for one in done["moved"]} == {"Acme", "Globex"}
        assert [(one["name"], "deleted" in one["error"]) for one in done["failed"]] == [
            ("Initech", True)
        ]
        world.operator.post(f"/api/tenants/{owners[2].tenant_id}/restore")
        again = multitenant("clusters", "drain", "blue", "--move", "--to", "default")
        assert "Moved 1 of 1 tenants" in again.output
        for owner in owners:
            assert world.record(owner.tenant_id)["cluster"] == "default"
            assert owner.get("/api/users/me").status_code == 200
            multitenant("move", owner.tenant_id, "--confirm", "--yes")
        multitenant("clusters", "remove", "blue", "--yes")

    def _works(self, owner: User) -> None:
        assert owner.get("/api/users/me").status_code == 200
