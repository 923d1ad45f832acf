"""The MongoDB user that the platform connects as needs two roles and no more."""

from typing import Any

from pymongo import MongoClient

from multitenant.embedded import EmbeddedServer
from tests.conftest import MakeWorld
from tests.support import PASSWORD, answer


def test_two_roles_are_enough_for_everything(
    make_world: MakeWorld, mongod: EmbeddedServer, mongo: MongoClient[dict[str, Any]]
) -> None:
    roles = ["readWriteAnyDatabase", "dbAdminAnyDatabase"]
    mongo.admin.command("createUser", "platform", pwd="platform", roles=roles)
    try:
        uri = f"mongodb://platform:platform@127.0.0.1:{mongod._port}/?authSource=admin"
        world = make_world(admin_db_uri=uri)
        owner = world.tenant("Acme")
        assert owner.post("/api/to-do-list", {"title": "x"}).status_code == 201
        body = {"currentPassword": PASSWORD, "newPassword": "another one"}
        assert owner.put("/api/users/me/password", body).status_code == 200
        assert owner.post("/api/users", {"email": "ben@acme.example"}).status_code == 201
        assert len(answer(world.operator.get("/api/usage"))["items"]) == 2
        before = world.databases()
        again = world.operator.post("/api/add", {"name": "acme", "email": "x@acme.example"})
        assert again.status_code == 409
        assert world.databases() == before
        name = world.record(owner.tenant_id)["dbName"]
        world.admin_db.client.drop_database(name)
        world.admin_db["tenants"].delete_one({"name": "Acme"})
    finally:
        mongo.admin.command("dropUser", "platform")
