"""What the admin database shows to whoever has a copy of it, and replacing the keys."""

from typing import Any

import pytest
from bson import json_util
from click.testing import CliRunner, Result
from pymongo import MongoClient

from multitenant.cli import cli
from multitenant.config import load_settings
from multitenant.tenancy.operations.key_rotation import count_outdated
from tests.conftest import MakeWorld
from tests.integration.test_dedicated import user_of
from tests.support import CREDENTIAL_KEY, JWT_KEY, OPERATOR_PASSWORD, PASSWORD, World, refusal

Client = MongoClient[dict[str, Any]]

NEW_KEY = "the-key-after-that-one" + "02468ace13579bdf" * 4


def dump(world: World) -> str:
    """Everything that is in the admin database, as text."""
    return "\n".join(
        json_util.dumps(document)
        for name in world.admin_db.list_collection_names()
        for document in world.admin_db[name].find()
    )


def test_a_dump_of_the_admin_database_has_no_secret_in_it(world: World) -> None:
    """After everything that the API offers to do with secrets."""
    acme = world.tenant("Acme", isolation="dedicated")
    world.tenant("Globex")
    invitation = world.add(name="Initech", email="invited@initech.example").get_json()
    token = invitation["responseObject"]["invitationToken"]
    body = {"token": token, "password": "an invited one"}
    assert world.client.post("/api/invitations/accept", json=body).status_code == 200
    body = {"currentPassword": PASSWORD, "newPassword": "another one"}
    assert acme.put("/api/users/me/password", body).status_code == 200
    path = f"/api/tenants/{acme.tenant_id}"
    assert world.operator.post(f"{path}/rotate-credentials").status_code == 200
    user = user_of(world, acme)
    wrong = {"email": "owner@acme.example", "password": "a wrong password"}
    assert world.client.post("/api/login", json=wrong).status_code == 401
    reason = {"userId": acme.user_id, "reason": "to see what they see"}
    impersonated = world.operator.post(f"{path}/impersonate", reason).get_json()

    text = dump(world)

    assert "owner@acme.example" in text, "this is not the whole database"
    for secret in (
        *(PASSWORD, OPERATOR_PASSWORD, "another one", "an invited one", "a wrong password"),
        *(user.name, user.password, "mongodb://", "$2b$", JWT_KEY, CREDENTIAL_KEY),
        *(token, acme.access, acme.refresh, impersonated["responseObject"]["accessToken"]),
    ):
        assert secret not in text
    for tenant in world.admin_db["tenants"].find():
        hashes = world.admin_db.client[tenant["dbName"]]["users"].distinct("password")
        assert hashes
        assert not any(hashed in text for hashed in hashes)


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command line with these CREDENTIAL_KEYS."""

    def run(keys: str, *arguments: str) -> Result:
        for name, value in {**environment, "CREDENTIAL_KEYS": keys}.items():
            monkeypatch.setenv(name, value)
        return CliRunner().invoke(cli, list(arguments))

    return run


def test_rotating_encrypts_everything_anew_and_the_old_key_can_go(
    make_world: MakeWorld, environment: dict[str, str], run: Any
) -> None:
    world = make_world()
    owners = [world.tenant(name, isolation="dedicated") for name in ("Acme", "Globex")]
    users = [user_of(world, owner) for owner in owners]

    result = run(f"{NEW_KEY},{CREDENTIAL_KEY}", "keys", "rotate")

    assert result.exit_code == 0, result.output
    assert "2 fields" in result.output
    after = make_world(credential_keys=NEW_KEY)
    assert [user_of(after, owner) for owner in owners] == users
    assert after.login("owner@acme.example").get("/api/users/me").status_code == 200
    entry = world.admin_db["audit"].find_one({"action": "keys.rotate"})
    assert entry is not None
    assert entry["details"] == {"fields": 2}
    again = run(f"{NEW_KEY},{CREDENTIAL_KEY}", "keys", "rotate")
    assert again.exit_code == 0
    assert "0 fields" in again.output


def test_a_rotation_that_was_stopped_goes_on_with_the_rest(
    make_world: MakeWorld, environment: dict[str, str], run: Any
) -> None:
    from multitenant.security.field_encryption import FieldCipher
    from multitenant.tenancy.operations.key_rotation import rotate_keys

    world = make_world()
    for name in ("Acme", "Globex", "Initech"):
        world.tenant(name, isolation="dedicated")
    cipher = FieldCipher([NEW_KEY, CREDENTIAL_KEY])
    next(rotate_keys(world.admin_db, cipher))
    assert count_outdated(world.admin_db, cipher) == 2
    result = run(f"{NEW_KEY},{CREDENTIAL_KEY}", "keys", "rotate")
    assert "2 fields" in result.output
    assert count_outdated(world.admin_db, cipher) == 0


def test_a_missing_key_is_named_and_nothing_is_lost(world: World, run: Any) -> None:
    owner = world.tenant("Acme", isolation="dedicated")
    before = world.record(owner.tenant_id)
    result = run(NEW_KEY, "keys", "rotate")
    assert result.exit_code != 0
    assert "not in CREDENTIAL_KEYS" in f"{result.output}{result.exception}"
    assert world.record(owner.tenant_id) == before


def test_a_tenant_whose_key_is_missing_gets_an_error_that_tells_nothing(
    make_world: MakeWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    world = make_world()
    owner = world.tenant("Acme", isolation="dedicated")
    other = make_world(credential_keys=NEW_KEY)
    response = other.client.get(
        "/api/users/me", headers={"Authorization": f"Bearer {owner.access}"}
    )
    refusal(response, 503, "database_unavailable")
    assert "CREDENTIAL" not in response.text
    assert "not in CREDENTIAL_KEYS" in capfd.readouterr().err


def test_credentials_copied_to_another_tenants_record_open_nothing(world: World) -> None:
    acme, globex = (world.tenant(name, isolation="dedicated") for name in ("Acme", "Globex"))
    stolen = world.record(acme.tenant_id)
    taken = {"credentials": stolen["credentials"], "dbName": stolen["dbName"]}
    record = world.record(globex.tenant_id)
    world.admin_db["tenants"].drop_index("cluster_1_dbName_1_dbUri_1")  # which forbids that
    world.admin_db["tenants"].update_one({"_id": record["_id"]}, {"$set": taken})
    world.platform.connections.forget(record["_id"])
    refusal(globex.get("/api/users/me"), 503, "database_unavailable")
    world.admin_db["tenants"].replace_one({"_id": record["_id"]}, record)


def test_settings_take_several_keys(environment: dict[str, str]) -> None:
    changed = {**environment, "CREDENTIAL_KEYS": f"{NEW_KEY}, {CREDENTIAL_KEY}"}
    assert len(load_settings(changed, env_file=None).credential_keys) == 2
