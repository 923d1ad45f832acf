"""Clusters: where new tenants are placed, and adding, changing, draining and removing clusters."""

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pymongo import MongoClient

from multitenant.cli import cli
from multitenant.embedded import EmbeddedServer
from multitenant.errors import Conflict, NotFound, ValidationFailed
from multitenant.repositories.indexes import find_drift
from multitenant.repositories.model import utc_now
from multitenant.tenancy.actor import Actor
from multitenant.tenancy.lifecycle.cluster_capacity import declared_per_tenant
from tests.conftest import MakeWorld
from tests.integration.test_keys import NEW_KEY, dump
from tests.integration.test_prepared_databases import wait_until_full
from tests.support import CREDENTIAL_KEY, World, answer, eventually, refusal

Client = MongoClient[dict[str, Any]]
Run = Callable[[list[Callable[[], Any]]], list[Any]]

ACTOR = Actor.on_command_line()
ROLES = ["readWriteAnyDatabase", "dbAdminAnyDatabase"]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be reached is not waited for."""
    monkeypatch.setattr("multitenant.tenancy.deployments.deployments.CHECK_SECONDS", 1.0)


def add(world: World, name: str, **fields: Any) -> Any:
    return world.add(name=name, email=f"owner@{name.lower()}.example", **fields)


def cluster_of(world: World, response: Any) -> str:
    return str(world.record(answer(response)["tenantId"])["cluster"])


def record(world: World, name: str) -> Any:
    return world.admin_db["clusters"].find_one({"_id": name})


class TestPlacement:
    def test_the_cluster_with_the_larger_free_share_gets_the_next_tenant(
        self, world: World, blue: Client
    ) -> None:
        """`default` has the operators; with room for ten each, blue is freer until it has two."""
        for name in ("default", "blue"):
            world.platform.clusters.change(name, ACTOR, capacity={"tenants": 10})
        placed = [cluster_of(world, add(world, f"T{number}")) for number in range(4)]
        assert placed == ["blue", "blue", "default", "blue"]
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 1000})
        assert {cluster_of(world, add(world, f"U{number}")) for number in range(3)} == {"default"}

    def test_the_scarcest_resource_decides(self, world: World, blue: Client) -> None:
        collections = int(declared_per_tenant()["collections"])
        limits = {"tenants": 1000, "collections": 4 * collections}
        world.platform.clusters.change("blue", ACTOR, capacity=limits)
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 10})
        placed = [cluster_of(world, add(world, f"T{number}")) for number in range(4)]
        assert placed == ["blue", "default", "default", "blue"], "a quarter of blue each"

    def test_a_full_cluster_is_refused_and_when_all_are_it_is_said(
        self, world: World, blue: Client
    ) -> None:
        world.platform.clusters.change("blue", ACTOR, capacity={"tenants": 1})
        assert cluster_of(world, add(world, "Acme", cluster="blue")) == "blue"
        refused = refusal(add(world, "Globex", cluster="blue"), 409, "conflict")
        assert refused["incorrectField"] == "cluster"
        assert cluster_of(world, add(world, "Globex")) == "default"
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 2})
        response = add(world, "Initech")
        refusal(response, 409, "conflict")
        assert "full" in response.get_json()["message"]
        assert world.admin_db["provisionings"].count_documents({}) == 0
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": None})
        assert cluster_of(world, add(world, "Initech")) == "default"

    def test_of_many_that_race_for_the_last_places_none_is_one_too_many(
        self, world: World, run_together: Run
    ) -> None:
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 4})
        calls: list[Any] = [partial(add, world, f"T{number}") for number in range(8)]
        statuses = [response.status_code for response in run_together(calls)]
        assert sorted(statuses) == [201] * 3 + [409] * 5
        assert world.admin_db["tenants"].count_documents({}) == 4

    def test_the_lock_of_somebody_who_died_while_placing_runs_out(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 4})
        until = utc_now() + timedelta(seconds=0.3)
        lock = {"_id": "placing on default", "holder": "somebody who died", "until": until}
        world.admin_db["locks"].insert_one(lock)
        assert add(world, "Acme").status_code == 201
        assert world.admin_db["locks"].count_documents({}) == 0
        world.admin_db["locks"].insert_one({**lock, "until": utc_now() + timedelta(hours=1)})
        monkeypatch.setattr(
            "multitenant.tenancy.lifecycle.cluster_placement.LOCK_WAIT_SECONDS", 0.1
        )
        refusal(add(world, "Globex"), 503, "database_unavailable")

    def test_a_purged_tenant_leaves_room(self, world: World) -> None:
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 2})
        made = answer(add(world, "Acme"))
        path = f"/api/tenants/{made['tenantId']}"
        world.operator.delete(path)
        refusal(add(world, "Globex"), 409, "conflict")
        assert world.operator.post(f"{path}/purge", {"confirm": "Acme"}).status_code == 200
        assert add(world, "Globex").status_code == 201

    @pytest.mark.parametrize("cluster", ["nowhere", "external", "", "Blue", 7])
    def test_a_cluster_that_is_not_there_is_named(self, world: World, cluster: Any) -> None:
        refused = refusal(add(world, "Acme", cluster=cluster), 422, "validation_failed")
        assert refused["incorrectField"] == "cluster"

    def test_a_cluster_and_a_server_of_its_own_exclude_each_other(self, world: World) -> None:
        response = add(world, "Acme", cluster="default", dbUri="mongodb://u:p@example.com/")
        assert refusal(response, 422, "validation_failed")["incorrectField"] == "cluster"

    def test_a_retried_request_answers_the_first_result(self, world: World, blue: Client) -> None:
        headers = {"Idempotency-Key": "one"}
        body = {"name": "Acme", "email": "owner@acme.example", "cluster": "blue"}
        first = answer(world.operator.post("/api/add", body, headers=headers))
        assert answer(world.operator.post("/api/add", body, headers=headers)) == first
        body["cluster"] = "default"
        response = world.operator.post("/api/add", body, headers=headers)
        refusal(response, 422, "validation_failed")

    def test_placing_reads_no_database_of_a_tenant(self, world: World, blue: Client) -> None:
        for number in range(3):
            add(world, f"T{number}")
        world.recorder.commands.clear()
        made = answer(add(world, "Acme"))
        touched = {db for db, _, _ in world.recorder.commands}
        own = world.record(made["tenantId"])["dbName"]
        assert touched == {world.admin_db.name, own, "admin"}

    def test_what_the_schemas_declare_is_what_a_tenant_has(self, world: World) -> None:
        owner = world.tenant("Acme")
        owner.post("/api/users", {"email": "x@acme.example"})  # takes a turn
        stats = world.db_of(owner.tenant_id).command("dbStats")
        declared = declared_per_tenant()
        assert {what: stats[what] for what in declared} == declared


class TestPrepared:
    """PROVISIONING_POOL_SIZE, on each open cluster."""

    @pytest.fixture
    def world(self, make_world: MakeWorld) -> World:
        return make_world(provisioning_pool_size=2)

    def waiting(self, world: World) -> dict[str, int]:
        notes = world.admin_db["provisionings"].find({"preparedVersion": {"$exists": True}})
        clusters = [note["cluster"] for note in notes]
        return {cluster: clusters.count(cluster) for cluster in clusters}

    def test_each_open_cluster_has_some_and_a_drained_one_none(
        self, world: World, blue: Client
    ) -> None:
        world.platform.prepared.refill()
        world.platform.prepared.refill()
        self.until(world, {"default": 2, "blue": 2})
        made = answer(add(world, "Acme", cluster="blue"))
        assert world.record(made["tenantId"])["dbName"] in blue.list_database_names()
        self.until(world, {"default": 2, "blue": 2})

        assert world.platform.clusters.drain("blue", ACTOR) == []

        assert self.waiting(world) == {"default": 2}
        assert cluster_of(world, add(world, "Globex")) == "default"
        wait_until_full(world)

    def test_they_have_their_places_within_the_capacity(self, world: World, blue: Client) -> None:
        world.platform.clusters.change("blue", ACTOR, capacity={"tenants": 1})
        world.platform.prepared.refill()
        self.until(world, {"default": 2, "blue": 1})
        assert cluster_of(world, add(world, "Acme", cluster="blue")) == "blue"
        refusal(add(world, "Globex", cluster="blue"), 409, "conflict")
        self.until(world, {"default": 2})

    def until(self, world: World, wanted: dict[str, int]) -> None:

        eventually(lambda: self.waiting(world) == wanted)


class TestAdding:
    def test_its_uri_is_stored_encrypted_and_shown_nowhere(
        self, world: World, blue: Client, elsewhere: EmbeddedServer, caplog: Any
    ) -> None:
        world.tenant("Acme", cluster="blue")
        text = dump(world)
        report = world.operator.get("/api/connections").text
        for secret in (elsewhere._password, "mongodb://"):
            assert secret not in text
            assert secret not in report
            assert secret not in caplog.text
        stored = record(world, "blue")
        assert stored["state"] == "open"
        uri = world.platform.cipher.decrypt(stored["uri"], record_id="blue", field="uri")
        assert uri == elsewhere.uri
        entry = world.admin_db["audit"].find_one({"action": "cluster.add"})
        assert entry is not None
        assert entry["details"]["cluster"] == "blue"

    def test_the_same_deployment_is_refused_under_another_name(
        self, world: World, blue: Client, elsewhere: EmbeddedServer
    ) -> None:
        localhost = elsewhere.uri.replace("127.0.0.1", "localhost")
        for uri in (elsewhere.uri, localhost):
            with pytest.raises(Conflict, match="the cluster blue"):
                world.platform.clusters.add("green", uri, {}, ACTOR)
        assert record(world, "green") is None

    def test_the_same_deployment_is_known_by_its_members_where_its_id_is_not_told(
        self, world: World, blue: Client, limited_uri: str
    ) -> None:
        with pytest.raises(Conflict, match="the cluster blue"):
            world.platform.clusters.add("green", limited_uri, {}, ACTOR)

    def test_of_two_who_add_it_at_once_one_does(
        self, world: World, elsewhere: EmbeddedServer, run_together: Run
    ) -> None:
        names = ("blue", "green", "red")
        calls: list[Any] = [
            partial(world.platform.clusters.add, name, elsewhere.uri, {}, ACTOR) for name in names
        ]
        results = run_together(calls)
        assert sum(isinstance(result, Conflict) for result in results) == 2
        assert world.admin_db["clusters"].count_documents({}) == 2

    def test_the_admin_databases_own_is_refused(self, world: World) -> None:
        uri = world.platform.settings.admin_db_uri.get_secret_value()
        with pytest.raises(Conflict, match="admin database"):
            world.platform.clusters.add("blue", uri, {}, ACTOR)

    @pytest.mark.parametrize("name", ["default", "external", "Blue", "", "a b", "-a", "x" * 64])
    def test_a_name_that_cannot_be_one_is_refused(
        self, world: World, elsewhere: EmbeddedServer, name: str
    ) -> None:
        with pytest.raises(ValidationFailed, match="name"):
            world.platform.clusters.add(name, elsewhere.uri, {}, ACTOR)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (("mongodb://", "http://"), "must begin"),
            (("multitenant:", "multitenant:x"), "refuses"),
            (("replicaSet=embedded", "replicaSet=other"), "reached"),
            (("replicaSet=embedded", "directConnection=true"), "directConnection"),
            (("multitenant:", ":"), "URI"),
            (("/?", "/?tls=true&tlsCAFile=/nowhere&"), "not there"),
        ],
    )
    def test_a_uri_that_cannot_be_used_is_refused(
        self, world: World, elsewhere: EmbeddedServer, change: tuple[str, str], message: str
    ) -> None:
        with pytest.raises(ValidationFailed, match=message) as refused:
            world.platform.clusters.add("blue", elsewhere.uri.replace(*change), {}, ACTOR)
        assert elsewhere._password not in str(refused.value)
        assert record(world, "blue") is None

    @pytest.fixture
    def limited_uri(self, theirs: Client, elsewhere: EmbeddedServer) -> Any:
        """The URI of a user with the least rights that a cluster needs."""
        theirs.admin.command("createUser", "limited", pwd="limited", roles=ROLES)
        yield elsewhere.uri.replace(f"multitenant:{elsewhere._password}", "limited:limited")
        theirs.admin.command("dropUser", "limited")

    def test_a_user_who_may_too_little_is_refused_and_what_is_missing_said(
        self, world: World, theirs: Client, limited_uri: str
    ) -> None:
        theirs.admin.command("updateUser", "limited", roles=ROLES[:1])
        with pytest.raises(ValidationFailed, match="may not dropDatabase"):
            world.platform.clusters.add("blue", limited_uri, {}, ACTOR)

    def test_a_user_without_rights_over_users_serves_shared_tenants_only(
        self, world: World, theirs: Client, limited_uri: str
    ) -> None:
        assert not world.platform.clusters.add("blue", limited_uri, {}, ACTOR).dedicated
        refused = add(world, "Acme", cluster="blue", isolation="dedicated")
        assert "userAdminAnyDatabase" in refused.get_json()["message"]
        made = answer(add(world, "Acme", cluster="blue"))
        theirs.drop_database(world.record(made["tenantId"])["dbName"])

    def test_one_that_does_not_fit_the_connection_budget_is_refused(
        self, make_world: MakeWorld, elsewhere: EmbeddedServer
    ) -> None:
        world = make_world(connection_budget=2 * 26 - 1)
        with pytest.raises(Conflict, match="CONNECTION_BUDGET"):
            world.platform.clusters.add("blue", elsewhere.uri, {}, ACTOR)

    def test_another_uri_must_lead_to_the_same_deployment(self, world: World, blue: Client) -> None:
        uri = world.platform.settings.admin_db_uri.get_secret_value()
        before = record(world, "blue")
        with pytest.raises(Conflict, match="another deployment"):
            world.platform.clusters.change("blue", ACTOR, uri=uri, capacity={})
        assert record(world, "blue") == before
        with pytest.raises(Conflict, match="ADMIN_DB_URI"):
            world.platform.clusters.change("default", ACTOR, uri=uri, capacity={})


class TestDraining:
    def test_a_draining_cluster_takes_no_tenants_and_its_own_work_on(
        self, world: World, blue: Client
    ) -> None:
        owner = world.tenant("Acme", cluster="blue")
        world.platform.clusters.drain("blue", ACTOR)
        refused = refusal(add(world, "Globex", cluster="blue"), 422, "validation_failed")
        assert "draining" in refused["errors"][0]["message"]
        assert cluster_of(world, add(world, "Globex")) == "default"
        assert owner.post("/api/to-do-list", {"title": "x"}).status_code == 201
        world.platform.clusters.drain("default", ACTOR)
        response = add(world, "Initech")
        refusal(response, 409, "conflict")
        assert "No cluster" in response.get_json()["message"]
        world.platform.clusters.open("blue", ACTOR)
        assert cluster_of(world, add(world, "Initech")) == "blue"

    def test_a_tenant_that_was_being_placed_meanwhile_goes_elsewhere(
        self, world: World, blue: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Between the choice and the note of the place, somebody drains the cluster."""
        placement = world.platform.provisioner._placement
        candidates = placement.candidates

        def drain_after_choosing(told: str | None = None) -> list[str]:
            chosen = candidates(told)
            assert chosen[0] == "blue"
            world.platform.clusters.drain("blue", ACTOR)
            return chosen

        monkeypatch.setattr(placement, "candidates", drain_after_choosing)
        assert cluster_of(world, add(world, "Acme")) == "default"
        assert world.admin_db["provisionings"].count_documents({}) == 0

    def test_only_an_empty_one_is_closed_or_removed(self, world: World, blue: Client) -> None:
        clusters = world.platform.clusters
        owner = world.tenant("Acme", cluster="blue")
        with pytest.raises(Conflict, match="drain it first"):
            clusters.close("blue", ACTOR)
        clusters.drain("blue", ACTOR)
        with pytest.raises(Conflict, match="1 tenants"):
            clusters.close("blue", ACTOR)
        path = f"/api/tenants/{owner.tenant_id}"
        world.operator.delete(path)
        world.operator.post(f"{path}/purge", {"confirm": "Acme"})
        with pytest.raises(Conflict, match="tenants gc"):
            clusters.remove("blue", ACTOR)
        world.admin_db["provisionings"].delete_many({})

        clusters.close("blue", ACTOR)

        connections = world.platform.connections
        eventually(lambda: [name for name, _ in connections.cluster_clients()] == ["default"])
        refusal(add(world, "Globex", cluster="blue"), 422, "validation_failed")
        clusters.open("blue", ACTOR)
        assert cluster_of(world, add(world, "Globex", cluster="blue")) == "blue"
        with pytest.raises(Conflict):
            clusters.remove("blue", ACTOR)

    def test_a_removed_one_is_forgotten(self, world: World, blue: Client) -> None:
        world.platform.clusters.drain("blue", ACTOR)
        world.platform.clusters.remove("blue", ACTOR)
        assert record(world, "blue") is None
        with pytest.raises(NotFound):
            world.platform.clusters.drain("blue", ACTOR)

    def test_that_of_the_admin_database_stays(self, world: World) -> None:
        world.platform.clusters.drain("default", ACTOR)
        with pytest.raises(Conflict, match="stays"):
            world.platform.clusters.remove("default", ACTOR)


def test_the_admin_database_has_its_indexes_and_the_first_cluster(world: World) -> None:
    from multitenant.schemas.admin.tenants import TenantDocument

    assert find_drift(world.admin_db, [TenantDocument]) == []
    assert record(world, "default")["state"] == "open"
    assert "uri" not in record(world, "default")


class TestCommandLine:
    @pytest.fixture
    def run(self, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
        def run(*arguments: str, stdin: str | None = None, **variables: str) -> Result:
            for name, value in {**environment, "CLUSTER_URI": "", **variables}.items():
                monkeypatch.setenv(name, value)
            return CliRunner().invoke(cli, ["clusters", *arguments], input=stdin)

        return run

    def test_the_uri_comes_by_prompt_standard_input_or_variable_and_is_not_echoed(
        self, world: World, run: Any, elsewhere: EmbeddedServer
    ) -> None:
        ways: list[tuple[list[str], dict[str, Any]]] = [
            ([], {"stdin": f"{elsewhere.uri}\n"}),
            (["--uri-stdin"], {"stdin": f"{elsewhere.uri}\n"}),
            ([], {"CLUSTER_URI": elsewhere.uri}),
        ]
        for arguments, more in ways:
            result = run(
                "add", "blue", "--tenants", "9", "--disk-bytes", "1000", *arguments, **more
            )
            assert result.exit_code == 0, result.output
            assert "Added blue" in result.output
            assert elsewhere._password not in result.output
            assert record(world, "blue")["capacity"] == {"tenants": 9, "diskBytes": 1000}
            assert run("drain", "blue").exit_code == 0
            assert run("remove", "blue", "--yes").exit_code == 0
        assert run("add", "blue", "--uri-stdin", stdin="").exit_code == 2
        refused = run("add", "blue", "--uri-stdin", stdin="mongodb://u:secret@127.0.0.1:1/\n")
        assert refused.exit_code == 1
        assert "secret" not in f"{refused.output}{refused.exception}"

    def test_limits_are_changed_and_removed(self, world: World, run: Any) -> None:
        assert run("change", "default", "--tenants", "5", "--indexes", "70").exit_code == 0
        assert run("change", "default", "--tenants", "0").exit_code == 0
        assert record(world, "default")["capacity"] == {"indexes": 70}
        assert run("change", "default").exit_code == 2
        assert run("change", "nowhere", "--tenants", "5").exit_code == 1

    def test_draining_says_who_is_still_there(self, world: World, blue: Client, run: Any) -> None:
        owner = world.tenant("Acme", cluster="blue")
        result = run("drain", "blue")
        assert result.exit_code == 0
        assert owner.tenant_id in result.output
        assert "multitenant move" in result.output
        told = json.loads(run("drain", "blue", "--json").stdout)
        assert [tenant["name"] for tenant in told["tenants"]] == ["Acme"]
        assert run("close", "blue", "--yes").exit_code == 1
        assert run("drain", "blue", "--undo").exit_code == 0
        assert record(world, "blue")["state"] == "open"

    def test_keys_rotate_encrypts_the_uris_anew(
        self,
        make_world: MakeWorld,
        world: World,
        blue: Client,
        environment: dict[str, str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        before = record(world, "blue")["uri"]
        owner = world.tenant("Acme", cluster="blue")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CREDENTIAL_KEYS", f"{NEW_KEY},{CREDENTIAL_KEY}")
        result = CliRunner().invoke(cli, ["keys", "rotate"])
        assert "1 fields" in result.output
        assert record(world, "blue")["uri"]["keyId"] != before["keyId"]
        other = make_world(credential_keys=NEW_KEY)
        headers = {"Authorization": f"Bearer {owner.access}"}
        assert other.client.get("/api/users/me", headers=headers).status_code == 200

    def test_the_list_tells_what_is_there_and_when_each_is_full(
        self, world: World, blue: Client, run: Any
    ) -> None:
        """The platform is ten days old; blue got two tenants in that time, `default` one."""
        for name in ("Acme", "Globex"):
            world.tenant(name, cluster="blue").post("/api/to-do-list", {"title": "x"})
        world.tenant("Initech", cluster="default")
        ten_days_ago = utc_now() - timedelta(days=10)
        first = {"$set": {"createdAt": ten_days_ago}}
        world.admin_db["tenants"].update_one({"system": True}, first)
        world.platform.clusters.change("blue", ACTOR, capacity={"tenants": 12, "indexes": 10_000})

        result = run("list", "--json")

        assert result.exit_code == 0, result.output
        told = {one["name"]: one for one in json.loads(result.stdout)["clusters"]}
        here, there = told["default"], told["blue"]
        assert (here["tenants"], there["tenants"]) == (2, 2)
        assert there["tenantsPerDay"] == 0.2
        assert (there["limiting"], there["freeTenants"]) == ("tenants", 10)
        assert there["fullOn"][:10] == (utc_now() + timedelta(days=50)).isoformat()[:10]
        assert (here["fullOn"], here["freeTenants"]) == (None, None)
        tenants = world.admin_db["tenants"].find({"cluster": "blue"})
        stats = [blue[tenant["dbName"]].command("dbStats") for tenant in tenants]
        assert there["resources"]["collections"]["used"] == pytest.approx(
            sum(one["collections"] for one in stats), abs=4
        )
        assert there["dataBytes"] == sum(one["dataSize"] for one in stats)
        assert there["resources"]["tenants"]["capacity"] == 12
        assert record(world, "blue")["measured"]["tenants"] == 2

        indexes = int(there["resources"]["indexes"]["perTenant"] * 3.5)
        world.platform.clusters.change("blue", ACTOR, capacity={"indexes": indexes})
        table = run("list")
        assert "by indexes: room for 1 more tenants" in table.stdout
        assert "default  open" in table.stdout
        world.platform.clusters.change("default", ACTOR, capacity={"tenants": 3})
        assert "All open clusters will be full on" in run("list").stdout

    def test_the_list_goes_on_without_a_cluster_that_is_down_and_says_so(
        self, world: World, blue: Client, run: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world.tenant("Acme", cluster="blue")
        uri = world.platform.cipher.encrypt(
            "mongodb://u:p@127.0.0.1:1/?replicaSet=x", record_id="blue", field="uri"
        )
        world.admin_db["clusters"].update_one({"_id": "blue"}, {"$set": {"uri": uri}})
        result = run("list", "--json", OPERATION_TIMEOUT_MS="2000")
        assert result.exit_code == 1
        told = {one["name"]: one for one in json.loads(result.stdout)["clusters"]}
        assert told["default"]["error"] is None
        assert told["blue"]["error"] == "ServerSelectionTimeoutError"
        assert told["blue"]["tenants"] == 1
