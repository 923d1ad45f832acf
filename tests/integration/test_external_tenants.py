"""Tenants on a server of their own (`dbUri`): a second real replica set."""

from collections.abc import Iterator
from typing import Any

import pytest
from bson import ObjectId
from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from tests.conftest import MakeWorld
from tests.failpoints import failing
from tests.integration.test_provisioning import _collect_garbage
from tests.support import PASSWORD, User, World, answer, refusal

Client = MongoClient[dict[str, Any]]


@pytest.fixture
def world(make_world: MakeWorld, elsewhere: EmbeddedServer) -> World:
    """An application that takes that server."""
    return make_world(tenant_uri_allowed_hosts=f"127.0.0.1:{elsewhere._port}")


def add(world: World, uri: str, **fields: Any) -> User:
    response = world.add(
        name="Acme", email="owner@acme.example", password=PASSWORD, dbUri=uri, **fields
    )
    assert response.status_code == 201, response.text
    return world.login("owner@acme.example", tenant=answer(response)["tenantId"])


def purge(world: World, owner: User) -> Any:
    path = f"/api/tenants/{owner.tenant_id}"
    assert world.operator.delete(path).status_code == 200
    return answer(world.operator.post(f"{path}/purge", {"confirm": "Acme"}))["gone"]


def test_the_tenant_lives_there_and_everything_works(
    world: World, theirs: Client, their_uri: str
) -> None:
    owner = add(world, their_uri)
    record = world.record(owner.tenant_id)
    assert (record["cluster"], record["isolation"]) == ("external", "dedicated")
    assert record["dbName"] == "acme"
    item = answer(owner.post("/api/to-do-list", {"title": "x"}))
    assert theirs["acme"]["todos"].find_one({"_id": ObjectId(item["id"])}) is not None
    assert "acme" not in world.admin_db.client.list_database_names()

    other = world.login("owner@acme.example")
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    assert owner.put("/api/users/me/password", body).status_code == 200
    refusal(other.get("/api/users/me"), 401, "token_revoked")
    assert owner.get("/api/users/me").status_code == 200
    fresh = world.login("owner@acme.example", "another one")
    refresh = {"Authorization": f"Bearer {fresh.refresh}"}
    assert world.client.post("/api/refresh", headers=refresh).status_code == 200

    gone = purge(world, owner)
    assert gone == dict.fromkeys(
        ("tenant", "memberships", "revocations", "database", "cacheEntry"), True
    )
    assert theirs["acme"].list_collection_names() == []


def test_the_uri_is_never_shown_again(
    world: World, their_uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    owner = add(world, their_uri)
    path = f"/api/tenants/{owner.tenant_id}"
    shown = [
        world.operator.get(path).text,
        world.operator.patch(path, {"userLimit": 3}).text,
        world.operator.patch(path, {"dbUri": their_uri}).text,
        world.operator.get("/api/tenants").text,
        world.operator.get("/api/audit").text,
        world.operator.get("/api/connections").text,
        world.add(name="acme", email="x@acme.example", dbUri=their_uri).text,
        str(list(world.admin_db["tenants"].find())),
        repr(world.platform.connections.own_clients()),
        caplog.text,
    ]
    for text in shown:
        assert "their-password" not in text
        assert "mongodb://" not in text
    purge(world, owner)


def test_an_invited_owner_accepts_there_once(world: World, their_uri: str) -> None:
    made = answer(world.add(name="Acme", email="owner@acme.example", dbUri=their_uri))
    body = {"token": made["invitationToken"], "password": PASSWORD}
    assert world.client.post("/api/invitations/accept", json=body).status_code == 200
    refusal(world.client.post("/api/invitations/accept", json=body), 401, "token_revoked")
    purge(world, world.login("owner@acme.example"))


def test_a_name_is_made_up_where_the_uri_has_none(
    world: World, theirs: Client, elsewhere: EmbeddedServer
) -> None:
    owner = add(world, elsewhere.uri)
    name = world.record(owner.tenant_id)["dbName"]
    assert name == f"{world.platform.settings.tenant_db_prefix}{owner.tenant_id}"
    assert name in theirs.list_database_names()
    purge(world, owner)
    assert name not in theirs.list_database_names()


class TestRefusals:
    """What is wrong is said, and nothing is stored."""

    def refused(self, world: World, uri: str, **fields: Any) -> str:
        before = world.databases()
        response = world.add(name="Acme", email="a@acme.example", dbUri=uri, **fields)
        details = refusal(response, 422, "validation_failed")
        assert details["incorrectField"] == "dbUri"
        assert "their-password" not in response.text
        assert world.admin_db["tenants"].count_documents({}) == 1
        assert world.admin_db["provisionings"].count_documents({}) == 0
        assert world.databases() == before
        return str(details["errors"][0]["message"])

    def test_a_wrong_password(self, world: World, their_uri: str) -> None:
        uri = their_uri.replace("their-password", "wrong")
        assert "refuses" in self.refused(world, uri)

    def test_a_user_who_may_not_write(self, world: World, their_uri: str, theirs: Client) -> None:
        theirs["acme"].command("updateUser", "theirs", roles=["read"])
        assert "refuses" in self.refused(world, their_uri)

    @pytest.mark.slow
    def test_a_server_that_is_not_there(self, world: World, elsewhere: EmbeddedServer) -> None:
        settings = world.platform.settings
        assert settings.tenant_uri_allowed_hosts == (f"127.0.0.1:{elsewhere._port}",)
        uri = f"mongodb://u:p@127.0.0.1:{elsewhere._port}/?replicaSet=another"
        assert "reached" in self.refused(world, uri)

    def test_a_standalone_server(
        self, make_world: MakeWorld, standalone: tuple[int, Client]
    ) -> None:
        port, client = standalone
        client["acme"].command("createUser", "theirs", pwd="x", roles=["readWrite"])
        world = make_world(tenant_uri_allowed_hosts="127.0.0.1")
        uri = f"mongodb://theirs:x@127.0.0.1:{port}/acme"
        assert "not a replica set" in self.refused(world, uri)

    def test_a_member_that_is_not_allowed(
        self, make_world: MakeWorld, elsewhere: EmbeddedServer, their_uri: str
    ) -> None:
        """The list says `localhost`, and the replica set calls itself 127.0.0.1."""
        world = make_world(tenant_uri_allowed_hosts=f"localhost:{elsewhere._port}")
        uri = their_uri.replace("127.0.0.1", "localhost")
        assert "does not list" in self.refused(world, uri)

    def test_a_database_that_is_not_empty(
        self, world: World, their_uri: str, theirs: Client
    ) -> None:
        theirs["acme"]["invoices"].insert_one({"paid": False})
        assert "not empty" in self.refused(world, their_uri)
        assert theirs["acme"].list_collection_names() == ["invoices"]

    def test_isolation_shared(self, world: World, their_uri: str) -> None:
        self.refused(world, their_uri, isolation="shared")

    def test_without_allowed_hosts_any(self, make_world: MakeWorld, their_uri: str) -> None:
        message = self.refused(make_world(), their_uri)
        assert "TENANT_URI_ALLOWED_HOSTS" in message

    def test_the_database_of_another_tenant(
        self, world: World, their_uri: str, theirs: Client
    ) -> None:
        owner = add(world, their_uri)
        response = world.add(name="Globex", email="g@globex.example", dbUri=their_uri)
        assert refusal(response, 409, "already_exists")["incorrectField"] == "dbUri"
        # and when it has nothing but the mark:
        theirs["acme"].drop_collection("users")
        for name in set(theirs["acme"].list_collection_names()) - {"owner"}:
            theirs["acme"].drop_collection(name)
        response = world.add(name="Globex", email="g@globex.example", dbUri=their_uri)
        assert refusal(response, 409, "already_exists")["incorrectField"] == "dbUri"
        assert theirs["acme"]["owner"].count_documents({}) == 1
        purge(world, owner)


@pytest.fixture
def standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Client]]:
    """A mongod that is no replica set."""
    import subprocess

    from multitenant.embedded import find_mongod
    from tests.e2e.server import free_port

    directory, port = tmp_path_factory.mktemp("standalone"), free_port()
    process = subprocess.Popen(
        [
            *(str(find_mongod()), "--dbpath", str(directory), "--logpath", str(directory / "log")),
            *("--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"),
        ]
    )
    try:
        with Client("127.0.0.1", port, serverMonitoringMode="poll") as client:
            client.admin.command("ping")
            yield port, client
    finally:
        process.terminate()
        process.wait()


class TestTwoClusters:
    """Invariant 1, where no transaction can span both sides."""

    @pytest.mark.slow
    def test_failing_at_any_write_leaves_nothing_and_can_be_repeated(
        self, world: World, mongo: Client, theirs: Client, their_uri: str
    ) -> None:
        new = {"name": "Acme", "email": "owner@acme.example", "password": PASSWORD}
        world.operator  # noqa: B018  # logs in
        world.recorder.commands.clear()
        assert world.add(**new, dbUri=their_uri).status_code == 201
        writes = ("insert", "update", "delete", "createIndexes", "commitTransaction")
        sent = [
            (db, name, command[name])
            for db, name, command in world.recorder.commands
            if name in writes and command[name] != "heartbeats"
        ]
        purge(world, world.login("owner@acme.example"))
        there = [one for one in sent if one[0] == "acme"]
        here = [one for one in sent if one[0] != "acme"]
        assert len(there) >= 4
        assert len(here) >= 5
        for client, commands in ((theirs, there), (mongo, here)):
            for step, one in enumerate(commands):
                db, command, of = one
                where = {} if command == "commitTransaction" else {"namespace": f"{db}.{of}"}
                skip = {"skip": commands[:step].count(one)}
                with failing(client, skip, command, errorCode=2, **where):
                    response = world.add(**new, dbUri=their_uri)
                what = f"write {step}, {command}: {response.text}"
                assert response.status_code in (422, 503), what
                _collect_garbage(world)
                assert theirs["acme"].list_collection_names() == [], what
                assert world.admin_db["tenants"].count_documents({}) == 1, what
                assert world.admin_db["tenantusers"].count_documents({}) == 1, what
        purge(world, add(world, their_uri))


class TestChangingTheUri:
    """PATCH dbUri: another password, or another name of the server; the same database."""

    def test_a_new_password_is_taken_while_the_tenant_works(
        self, world: World, theirs: Client, their_uri: str
    ) -> None:
        owner = add(world, their_uri)
        roles = [{"role": "readWrite", "db": "acme"}]
        theirs["acme"].command("createUser", "second", pwd="second", roles=roles)
        path = f"/api/tenants/{owner.tenant_id}"
        changed = their_uri.replace("theirs:their-password", "second:second")
        assert world.operator.patch(path, {"dbUri": changed}).status_code == 200
        theirs["acme"].command("updateUser", "theirs", pwd="other")
        assert owner.get("/api/users/me").status_code == 200
        page = answer(world.operator.get("/api/audit?action=tenant.change"))
        assert page["items"][0]["details"] == {"fields": ["dbUri"]}
        purge(world, owner)
        theirs["acme"].command("dropUser", "second")

    def test_another_database_is_refused(
        self, world: World, theirs: Client, their_uri: str, elsewhere: EmbeddedServer
    ) -> None:
        owner = add(world, their_uri)
        path = f"/api/tenants/{owner.tenant_id}"
        for uri in (
            elsewhere.uri.replace("/?", "/other?"),
            their_uri.replace("their-password", "wrong"),
        ):
            refusal(world.operator.patch(path, {"dbUri": uri}), 422, "validation_failed")
        assert owner.get("/api/users/me").status_code == 200
        purge(world, owner)

    def test_a_tenant_on_the_platforms_servers_has_none(self, world: World, their_uri: str) -> None:
        owner = world.tenant("Globex")
        path = f"/api/tenants/{owner.tenant_id}"
        refusal(world.operator.patch(path, {"dbUri": their_uri}), 409, "conflict")

    def test_isolation_and_credentials_of_it_are_its_owners_business(
        self, world: World, their_uri: str
    ) -> None:
        owner = add(world, their_uri)
        path = f"/api/tenants/{owner.tenant_id}"
        refusal(world.operator.patch(path, {"isolation": "shared"}), 409, "conflict")
        refusal(world.operator.post(f"{path}/rotate-credentials"), 409, "conflict")
        purge(world, owner)


def test_a_password_that_its_owner_has_changed_makes_the_tenant_unavailable_and_no_other(
    world: World, theirs: Client, their_uri: str
) -> None:
    owner, other = add(world, their_uri), world.tenant("Globex")
    theirs["acme"].command("updateUser", "theirs", pwd="changed")
    world.platform.connections.forget(ObjectId(owner.tenant_id))
    world.platform.connections.close_idle()  # its connections stay logged in
    response = owner.get("/api/users/me")
    refusal(response, 503, "database_unavailable")
    assert response.headers["Retry-After"]
    assert other.get("/api/users/me").status_code == 200
    theirs["acme"].command("updateUser", "theirs", pwd="their-password")
    assert owner.get("/api/users/me").status_code == 200
    purge(world, owner)


def test_its_users_are_added_changed_and_removed_on_both_servers(
    world: World, theirs: Client, their_uri: str
) -> None:
    owner = add(world, their_uri, userLimit=2)
    body = {"email": "ben@acme.example", "password": PASSWORD}
    assert owner.post("/api/users", body).status_code == 201
    refusal(owner.post("/api/users", {"email": "x@acme.example"}), 409, "user_limit_reached")
    ben = world.login("ben@acme.example")
    path = f"/api/users/{ben.user_id}"

    assert answer(owner.patch(path, {"role": "admin"}))["role"] == "admin"
    refusal(ben.get("/api/users/me"), 401, "token_revoked")
    assert owner.delete(path).status_code == 200

    assert theirs["acme"]["users"].count_documents({}) == 1
    tenant_id = ObjectId(owner.tenant_id)
    assert world.admin_db["tenantusers"].count_documents({"tenantId": tenant_id}) == 1
    usage = answer(world.operator.get(f"/api/tenants/{owner.tenant_id}/usage"))
    assert usage["documents"] == sum(
        theirs["acme"][name].count_documents({}) for name in theirs["acme"].list_collection_names()
    )
    purge(world, owner)


def test_a_user_who_was_half_added_is_added_by_doing_it_again(
    world: World, theirs: Client, their_uri: str
) -> None:
    """The membership is written first; without its user it opens nothing."""
    owner = add(world, their_uri, userLimit=2)
    body = {"email": "ben@acme.example", "password": PASSWORD}
    with failing(theirs, "alwaysOn", "insert", errorCode=2):
        assert owner.post("/api/users", body).status_code == 503
    refused = world.client.post("/api/login", json=body)
    refusal(refused, 401, "credentials_invalid")

    assert owner.post("/api/users", body).status_code == 201

    assert world.login("ben@acme.example").tenant_id == owner.tenant_id
    tenant_id = ObjectId(owner.tenant_id)
    assert world.admin_db["tenantusers"].count_documents({"tenantId": tenant_id}) == 2
    purge(world, owner)


def test_a_user_who_was_half_removed_refreshes_no_more_and_can_be_added_again(
    world: World, mongo: Client, their_uri: str
) -> None:
    """The user is removed first; then the process ends."""
    owner = add(world, their_uri)
    body = {"email": "ben@acme.example", "password": PASSWORD}
    owner.post("/api/users", body)
    ben = world.login("ben@acme.example")
    with failing(mongo, "alwaysOn", "delete", errorCode=2):
        assert owner.delete(f"/api/users/{ben.user_id}").status_code == 503
    refresh = world.client.post("/api/refresh", headers={"jwt": ben.refresh})
    refusal(refresh, 401, "token_revoked")
    refusal(world.client.post("/api/login", json=body), 401, "credentials_invalid")

    assert owner.post("/api/users", body).status_code == 201
    assert world.login("ben@acme.example").user_id != ben.user_id
    purge(world, owner)
